"""Pinned checkpoint of a log, which every newer checkpoint must extend.

checkpoint, its text or a file → pin → log must extend it → newer checkpoint → file, never backwards
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlsecops._choices import path_of
from mlsecops._files import open_private, write_privately
from mlsecops._platform import CLOEXEC, NONBLOCK, lock_whole
from mlsecops.audit.checkpoint import Checkpoint
from mlsecops.errors import DigestMismatch, EvidenceError, RollbackRefused, UsageError

__all__ = ["Pin", "require_extends"]

_MOST_BYTES: Final = 262_144  # bytes; chosen: the longest signed note, at four bytes a character
_FIXED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})  # nobody here may write it


class Pin:
    """A checkpoint that a log must extend, fixed or in a file that is moved forward.

    A file that is absent is made at the first move: until then any log is accepted. A file that
    cannot be written for lack of permission is a fixed checkpoint.

    Args:
        given: The checkpoint, its text, or the path of the file.

    Raises:
        UsageError: The file cannot be read.
        MalformedBundle: It is not a checkpoint.
    """

    def __init__(self, given: Checkpoint | str | os.PathLike[str]) -> None:
        self._file: Path | None = None
        self._newest: Checkpoint | None = None
        self._extended: Checkpoint | None = None
        if isinstance(given, str) and "\n" in given:
            given = Checkpoint.parse(given)
        if isinstance(given, Checkpoint):
            self._newest = given
            return
        self._file = Path(os.path.realpath(path_of("pinned", given)))
        if not self._file.parent.is_dir():
            raise UsageError(f"pinned: cannot use {given}: there is no folder {self._file.parent}")
        try:
            self._newest = _read(self._file)
        except OSError as error:
            raise UsageError(f"pinned: cannot read {given}: {error.strerror}") from error

    def current(self) -> Checkpoint | None:
        """The newest checkpoint that this process has seen, or None before the first.

        Raises:
            DigestMismatch: The file is about another log now.
            EvidenceError: The file cannot be read.
            MalformedBundle: The file holds no checkpoint.
        """
        if self._file is None:
            return self._newest
        try:
            stored = _read(self._file)
        except OSError as error:
            raise EvidenceError(f"pinned: cannot read {self._file}: {error.strerror}") from error
        newest = self._newest
        if stored is None or (newest is not None and stored.size < newest.size):
            return newest
        if newest is not None:
            require_same_log(newest, stored, where=f"pinned file {self._file}")
        self._newest = stored
        return stored

    def extended_by(self, checkpoint: Checkpoint) -> bool:
        """Whether a log was found before to extend this checkpoint."""
        return self._extended is not None and _same(self._extended, checkpoint)

    def advance(self, checkpoint: Checkpoint, *, checked: Checkpoint | None) -> None:
        """Move the file forward to a checkpoint of the log, unless another process was faster.

        Args:
            checkpoint: The log's authentic checkpoint.
            checked: The pinned checkpoint that the log was found to extend.

        Raises:
            EvidenceError: The file cannot be written.
        """
        if self._file is None:
            self._extended = checked
            return
        self._extended = checkpoint
        if checked is not None and checkpoint.size <= checked.size:
            return
        try:
            with _exclusive(self._file):
                stored = _read(self._file)
                if not _replaceable(stored, checked):
                    return
                write_privately(self._file, str(checkpoint).encode())
        except OSError as error:
            if error.errno not in _FIXED:
                raise EvidenceError(
                    f"pinned: cannot write {self._file}: {error.strerror}"
                ) from error
        if self._newest is None or self._newest.size < checkpoint.size:
            self._newest = checkpoint


def require_extends(checkpoint: Checkpoint, pin: Checkpoint, *, where: str) -> None:
    """Demand that a log is the pinned one and no shorter; of the same size, with the same root.

    Raises:
        DigestMismatch: It is another log, or was rewritten.
        RollbackRefused: It is shorter.
    """
    require_same_log(checkpoint, pin, where=where)
    if checkpoint.size < pin.size:
        raise RollbackRefused(
            f"{where}: expected at least {pin.size} entries, got {checkpoint.size}; its end was "
            "cut off or an older copy was restored"
        )
    if checkpoint.size == pin.size:
        require_root(checkpoint.root, pin, where=where)


def require_root(root: bytes, pin: Checkpoint, *, where: str) -> None:
    """Demand the pinned root.

    Raises:
        DigestMismatch: It is another one.
    """
    if root != pin.root:
        raise DigestMismatch(
            f"{where}: its first {pin.size} entries have root {root.hex()}, the pinned checkpoint "
            f"says {pin.root.hex()}; the log was rewritten: restore it and find out who wrote it"
        )


def require_same_log(checkpoint: Checkpoint, pin: Checkpoint, *, where: str) -> None:
    """Demand that two checkpoints name one log.

    Raises:
        DigestMismatch: They name two.
    """
    if checkpoint.origin != pin.origin:
        raise DigestMismatch(
            f"{where}: expected the pinned log {pin.origin}, got {checkpoint.origin}; this is "
            "another log"
        )


def _replaceable(stored: Checkpoint | None, checked: Checkpoint | None) -> bool:
    """Whether the log was found to extend what the file holds now."""
    if stored is None or checked is None:
        return stored is None
    return stored.size < checked.size or _same(stored, checked)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    return (one.origin, one.size, one.root) == (other.origin, other.size, other.root)


def _read(path: Path) -> Checkpoint | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | NONBLOCK | CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", str(path))
        data = stream.read(_MOST_BYTES + 1)
    return Checkpoint.parse(data[:_MOST_BYTES].decode("utf-8", "replace"))


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Allow one process at a time to move a file; the lock ends with the process."""
    descriptor = open_private(path.with_name(f"{path.name}.lock"), os.O_RDWR)
    try:
        lock_whole(descriptor, path)
        yield
    finally:
        os.close(descriptor)
