"""Pieces of files to hash, and buffers through which their bytes go.

path and stat result → Found → Piece, the whole file or a span of it → `hashing`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, mtime_ns and ctime_ns: they differ after a file was changed."""

Span: TypeAlias = tuple[Stamp, int, int]
"""Stamp of a file, first byte of a span and the byte after its last."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Stamp of a file from its stat result."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that a walk found.

    Attributes:
        path: Its path on disk, or its name for messages where a descriptor is open.
        size: Its size in bytes.
        root: Folder below which no part of the path may be a symlink; None where only the file
            itself must not be one.
        stamp: Stamp seen by the walk, or None; a file that differs from it by now is refused.
    """

    path: str
    size: int
    root: str | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HashTarget:
    """Where the bytes of a piece are kept while they are hashed: what is hashed is what is kept.

    Attributes:
        write: Called with each part and its offset in the piece before the part is hashed.
        room: From an offset in the piece and the bytes left to the memory to read the next part
            into, where the parts stay; None for buffers that are reused.
    """

    write: Callable[[memoryview, int], object] | None = None
    room: Callable[[int, int], memoryview] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of a file from `start` up to `stop`.

    Attributes:
        found: The file.
        start: First byte.
        stop: Byte after the last; None for the end of the file.
        descriptor: The file, open for reading; None where the path is to be opened.
        target: Where the bytes are kept, or None.
    """

    found: Found
    start: int = 0
    stop: int | None = None
    descriptor: int | None = None
    target: HashTarget | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.start

    @property
    def end(self) -> int:
        """Byte after the last."""
        return self.found.size if self.stop is None else self.stop
