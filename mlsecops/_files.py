"""Files on disk: written whole or not at all, private to their owner, or links to held bytes.

path → folder's sharing → mode, whatever the umask → file or folder
object → one JSON line at the end of a journal, which keeps paid work across a crash
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import path_of
from mlsecops._json import parse_object
from mlsecops._platform import CLOEXEC
from mlsecops.errors import UsageError

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC
_SHARED: Final = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
_UNSETTLED: Final = stat.S_ISVTX | stat.S_IRWXU  # of a new folder, until it has its mode
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@contextlib.contextmanager
def linked(files: Mapping[str, str]) -> Iterator[str]:
    """A private folder of links.

    Args:
        files: Relative name → where the link leads.

    Yields:
        The folder; it goes when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        for name, path in files.items():
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        yield folder


def utf8(text: str, *, what: str) -> bytes:
    """A text as bytes.

    Args:
        text: Text, which may hold a name from the file system that is no UTF-8.
        what: What the text is, for the message.

    Raises:
        UsageError: It holds what UTF-8 cannot.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        around = text[max(error.start - 20, 0) : error.start + 20]
        raise UsageError(
            f"{what}: expected text that UTF-8 can hold, got {around!r}; rename what is not UTF-8"
        ) from error


def write_atomically(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644) -> Path:
    """Write a file so that a reader, or a crash, sees the old bytes or the new ones.

    Args:
        path: Where the file appears; its folder exists.
        data: Its bytes.
        mode: Its permissions from the first moment on.

    Returns:
        The path written.

    Raises:
        UsageError: The path cannot be written.
    """
    target = path_of("path", path)
    try:
        return _write_through(target, data, lambda place: os.open(place, _NEW, mode))
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error


def write_privately(
    path: str | os.PathLike[str], data: bytes, *, sealed: bool = False, shared: bool = False
) -> Path:
    """As `write_atomically`, for the owner alone.

    Args:
        path: Where the file appears; its folder exists.
        data: Its bytes.
        sealed: As for `private_mode`.
        shared: As for `private_mode`.
    """

    def new(place: Path) -> int:
        return open_private(place, os.O_WRONLY | os.O_EXCL, sealed=sealed, shared=shared)

    return _write_through(Path(path), data, new)


def open_private(
    path: str | os.PathLike[str], flags: int, *, sealed: bool = False, shared: bool = False
) -> int:
    """Open a file, which is made for the owner alone, whatever the umask, if it is absent.

    Args:
        path: The file.
        flags: Flags of `os.open` besides `O_CREAT` and `O_CLOEXEC`.
        sealed: As for `private_mode`.
        shared: As for `private_mode`.

    Returns:
        The descriptor. The mode of a file that exists stays as it is.
    """
    mode = private_mode(Path(path).parent, sealed=sealed, shared=shared)
    made = flags | os.O_CREAT | CLOEXEC
    try:
        descriptor = os.open(path, made | os.O_EXCL, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, made, mode)
    if hasattr(os, "fchmod"):  # Windows keeps no modes, as some file systems elsewhere
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, mode)
    return descriptor


def private_folder(path: str | os.PathLike[str], *, shared: bool = False) -> Path:
    """Make a folder and its parents, as far as they are absent, for the owner alone.

    Args:
        path: The folder.
        shared: As for `private_mode`.

    Raises:
        OSError: It cannot be made, or is no folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.parent != folder:
            private_folder(folder.parent, shared=shared)
        try:
            folder.mkdir(mode=_UNSETTLED)
        except FileExistsError:
            if not folder.is_dir():
                raise
    _settle(folder, shared=shared)
    return folder


def _settle(folder: Path, *, shared: bool) -> None:
    """Give a new folder its mode, whoever made it: its maker may not have come so far."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_ISVTX and not mode & _OTHERS:
        group = shared and _is_shared(folder.parent)
        with contextlib.suppress(PermissionError):  # the file system keeps no modes
            folder.chmod(0o2770 if group else 0o700)


def private_mode(folder: Path, *, sealed: bool = False, shared: bool = False) -> int:
    """Mode of a new file: 0600 or 0400; 0660 or 0440 where a folder is shared on purpose.

    Args:
        folder: The folder that holds it.
        sealed: Whether nobody may write it.
        shared: Whether the folder's group may have it, if the folder has the set-group-id bit and
            lets its group in.
    """
    group = shared and _is_shared(folder)
    if sealed:
        return 0o440 if group else 0o400
    return 0o660 if group else 0o600


def _is_shared(folder: Path) -> bool:
    return folder.stat().st_mode & _SHARED == _SHARED


def _write_through(target: Path, data: bytes, new: Callable[[Path], int]) -> Path:
    temporary = target.parent / f".{target.name[:32]}.{secrets.token_hex(6)}.tmp"
    try:
        _replace(temporary, target, data, new)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    return target


def _replace(temporary: Path, target: Path, data: bytes, new: Callable[[Path], int]) -> None:
    descriptor = new(temporary)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a journal, none if it does not exist; an unfinished last line is cut off.

    Raises:
        UsageError: The file cannot be read, or is damaged.
    """
    try:
        lines = _whole_lines(path)
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error
    return [
        parse_object(line, what=f"journal {path} is damaged: line {number}", error=UsageError)
        for number, line in enumerate(lines, start=1)
    ]


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object to a journal, which is begun if it does not exist.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as stream:
            stream.write(f"{json.dumps(value)}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as stream:
            stream.truncate(end)
    return data[:end].splitlines()
