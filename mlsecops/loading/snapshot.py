"""Snapshot of files: their bytes are held from the check to the use, and hashed meanwhile.

paths → open descriptors → `hold` each (`snapshot_tiers`) → one hashing pass → seal → Snapshot
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from mlsecops._choices import one_of
from mlsecops._platform import read_at
from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot_tiers import TIERS, Held, Tier, hold
from mlsecops.provenance import Digest
from mlsecops.provenance.files.hashing import Progress, hash_pieces
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.files.pieces import Found, Piece

__all__ = ["TIERS", "Snapshot", "Source", "Tier", "opened", "snapshot"]

_ZIPPED: Final = (".pt", ".pth", ".bin", ".ckpt")
"""Usual file name suffixes of torch archives."""
_READ_ONCE: Final = 1 << 18  # bytes; chosen: most files of a folder, and little memory
_DESCRIPTORS: Final = "/proc/self/fd"
_ZIP: Final = b"PK\x03\x04"
"""Source: PKWARE APPNOTE 6.3.10, section 4.3.7, local file header signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Held bytes of one file.

    Attributes:
        name: Name for messages; its suffix claims a format.
        path: Path that opens them (`/proc/self/fd/N` for bytes in memory).
        size: Number of bytes.
        memory: The same bytes in memory of this process, where they were read into it.
        content: The same bytes of a small file, read once, which streams then give.
    """

    name: str
    path: str
    size: int
    memory: memoryview | None = None
    content: bytes | None = field(default=None, repr=False)

    def stream(self) -> BinaryIO:
        """Open the bytes at their start; streams do not share a position."""
        if self.content is not None:
            return io.BytesIO(self.content)
        return open(self.path, "rb")  # noqa: PTH123 - a path object costs as much again

    def head(self, count: int = 4096) -> bytes:
        """First bytes."""
        if self.content is not None:
            return self.content[:count]
        with self.stream() as stream:
            return stream.read(count)

    def tail(self, count: int) -> bytes:
        """Last bytes."""
        with self.stream() as stream:
            stream.seek(max(0, self.size - count))
            return stream.read(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Files whose bytes do not change any more, or not unnoticed.

    Attributes:
        sources: Name → held bytes.
        digests: Name → digest of the held bytes, and of each companion.
        held: Name → how the bytes are held.
    """

    sources: Mapping[str, Source]
    digests: Mapping[str, Digest]
    held: Mapping[str, Held]

    @property
    def tier(self) -> Tier:
        """How the bytes are held; where files differ, the tier with the weakest guarantee."""
        return max((each.tier for each in self.held.values()), key=TIERS.index)

    @property
    def lasting(self) -> bool:
        """Whether a mapping of the bytes stays valid after the block; else they must be copied."""
        return all(each.tier != "pinned" for each in self.held.values())

    @property
    def size(self) -> int:
        """Bytes held in total."""
        return sum(source.size for source in self.sources.values())

    def __or__(self, other: Snapshot) -> Snapshot:
        return Snapshot(
            sources={**self.sources, **other.sources},
            digests={**self.digests, **other.digests},
            held={**self.held, **other.held},
        )

    def confirm(self) -> None:
        """Demand that nobody changed anything since it was hashed.

        Raises:
            ChangedDuringLoad: Somebody did, or asked to.
        """
        for each in self.held.values():
            each.confirm()


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], *, name: str) -> Iterator[Source]:
    """The file at a path through one descriptor, for a scan without a later load.

    Args:
        path: A regular file; a symlink is refused.
        name: Name for messages.
    """
    descriptor = open_regular(path)
    try:
        size, content = os.fstat(descriptor).st_size, None
        if size <= _READ_ONCE:
            content = _whole(descriptor, size, name)
        place = _descriptor_path(descriptor, path)
        yield Source(name=name, path=place, size=size, content=content)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def snapshot(
    files: Mapping[str, str],
    *,
    tier: Tier,
    algorithm: str,
    limits: Limits,
    keep: bool = False,
    companions: Mapping[str, Found] | None = None,
    progress: Progress | None = None,
) -> Iterator[Snapshot]:
    """Hold files so that nobody changes them, and hash what is held.

    Args:
        files: Name → path of a regular file; a symlink is refused.
        tier: `"sealed"` or `"pinned"`, which fall back to the next tier where the system or
            the file does not allow them, or `"private-copy"`.
        algorithm: Digest algorithm.
        limits: Ceiling of each size.
        keep: Whether this process makes tensors of the bytes, which may stay where they were read.
        companions: Name → file that is hashed in the same pass and not held.
        progress: Called with the bytes hashed so far, and in all, as parts are read.

    Yields:
        The snapshot; its bytes go when the block ends, mappings of lasting ones stay.

    Raises:
        UsageError: The tier is unknown, or a file cannot be opened or held.
        ChangedDuringLoad: A file changed meanwhile.
        LimitExceeded: One is too large.
    """
    one_of("tier", tier, TIERS)
    others = companions or {}
    with contextlib.ExitStack() as stack:
        held: dict[str, Held] = {}
        for name, path in files.items():
            descriptor = open_regular(path)
            stack.callback(os.close, descriptor)
            limits.require("file_bytes", os.fstat(descriptor).st_size, where=name)
            stays = keep and _becomes_tensors(name, descriptor)
            taken = hold(descriptor, tier=tier, name=name, keep=stays)
            try:
                held[name] = stack.enter_context(taken)
            except OSError as error:
                raise UsageError(f"cannot hold {name} {tier}: {error.strerror}") from error
        pieces = [each.piece for each in held.values()] + [Piece(each) for each in others.values()]
        if progress is not None:
            pieces = _watched(pieces, progress)
        digests = hash_pieces(pieces, algorithm=algorithm)
        if progress is not None:
            progress(*[sum(piece.size for piece in pieces)] * 2)
        for each in held.values():
            each.seal()
        whole = Snapshot(
            sources={name: _source(name, each) for name, each in held.items()},
            digests=dict(zip((*held, *others), digests, strict=True)),
            held=held,
        )
        yield whole
        whole.confirm()


def _watched(pieces: list[Piece], progress: Progress) -> list[Piece]:
    """Pieces whose targets also report how far all of them are.

    A piece without a target stays so: that it did not change is checked in another way.
    """
    total, done = sum(piece.size for piece in pieces), [0] * len(pieces)

    def seen(number: int, at: int) -> None:
        done[number] = at
        progress(sum(done), total)

    def watched(number: int, piece: Piece) -> Piece:
        target = piece.target
        if target is None:
            return piece

        def write(part: memoryview, at: int) -> None:
            if target.write is not None:
                target.write(part, at)
            seen(number, at + len(part))

        return replace(piece, target=replace(target, write=write))

    return [watched(number, piece) for number, piece in enumerate(pieces)]


def _whole(descriptor: int, size: int, name: str) -> bytes:
    """All bytes of a small file, which is refused where its size changes."""
    content = read_at(descriptor, size + 1, 0)
    while 0 < len(content) < size and (more := read_at(descriptor, size, len(content))):
        content += more
    if len(content) != size:
        raise ChangedDuringLoad(
            f"{name} changed while it was being read: expected {size} bytes, got {len(content)}; "
            "stop the writer and retry"
        )
    return content


def _source(name: str, held: Held) -> Source:
    return Source(name=name, path=held.path, size=held.piece.size, memory=held.memory)


def _becomes_tensors(name: str, descriptor: int) -> bool:
    """Whether a file holds tensors that can stay where its bytes were read to."""
    if name.endswith(_ZIPPED):
        return read_at(descriptor, len(_ZIP), 0) == _ZIP
    return name.endswith(".safetensors")


def _descriptor_path(descriptor: int, path: str | os.PathLike[str]) -> str:
    return f"{_DESCRIPTORS}/{descriptor}" if _has_descriptors() else os.fspath(path)


@functools.cache
def _has_descriptors() -> bool:
    return Path(_DESCRIPTORS).is_dir()
