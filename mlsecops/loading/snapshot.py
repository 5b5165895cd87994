"""Which bytes are meant: files held so that nobody changes them between the check and the use.

Paths come in; a Snapshot goes out, each file hashed while it was taken, and each path in it leads
to those very bytes. How they are held is the business of `tiers`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from mlsecops.errors import UsageError
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot_tiers import TIERS, Held, Tier, hold
from mlsecops.provenance import Digest
from mlsecops.provenance.files.hashing import open_regular

__all__ = ["TIERS", "Snapshot", "Source", "Tier", "opened", "snapshot"]


_ZIPPED: Final = (".pt", ".pth", ".bin", ".ckpt")
"""What torch's files are called."""
_ZIP: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Bytes of one file, wherever they are held.

    Attributes:
        name: Name for messages, and for what its extension claims.
        path: Where to open them (`/proc/self/fd/N` for bytes in memory).
        size: How many there are.
        memory: The same bytes in memory of our own, where they were read into it.
    """

    name: str
    path: str
    size: int
    memory: memoryview | None = None

    def stream(self) -> BinaryIO:
        """Open the bytes at their start; each stream has a position of its own."""
        return Path(self.path).open("rb")

    def head(self, count: int = 4096) -> bytes:
        """First bytes."""
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
        sources: Name → bytes.
        held: Name → how they are held, and their digest.
    """

    sources: Mapping[str, Source]
    held: Mapping[str, Held]

    @property
    def tier(self) -> Tier:
        """How they are held; where files differ, the tier that promises least."""
        return max((each.tier for each in self.held.values()), key=TIERS.index)

    @property
    def lasting(self) -> bool:
        """Whether a mapping of the bytes stays true after the block; else they must be copied."""
        return all(each.lasting for each in self.held.values())

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(source.size for source in self.sources.values())

    def digest(self, name: str) -> Digest:
        """Digest of a file, taken of the bytes that are held."""
        return self.held[name].digest

    def confirm(self) -> None:
        """Demand that nobody changed anything since it was hashed.

        Raises:
            ChangedDuringLoad: Somebody did, or asked to.
        """
        for each in self.held.values():
            each.confirm()


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], *, name: str) -> Iterator[Source]:
    """The file at a path through one descriptor, for a scan that promises nothing about later.

    Args:
        path: A regular file; a symlink is refused.
        name: Name for messages.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        yield Source(name=name, path=_descriptor_path(descriptor, path), size=size)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def snapshot(
    files: Mapping[str, str], *, tier: Tier, algorithm: str, limits: Limits, keep: bool = False
) -> Iterator[Snapshot]:
    """Hold files so that nobody changes them, and hash what is held.

    Args:
        files: Name → path of a regular file; a symlink is refused.
        tier: `"sealed"` or `"pinned"`, which fall back to the next tier where the system or
            the file does not allow them, or `"private-copy"`.
        algorithm: Digest algorithm.
        limits: Ceiling of each size.
        keep: Whether tensors are made of the bytes here, and may stay where they were read to.

    Yields:
        The snapshot; its bytes go when the block ends, mappings of lasting ones stay.

    Raises:
        UsageError: The tier is unknown, or a file cannot be opened.
        ChangedDuringLoad: A file changed meanwhile.
        LimitExceeded: One is too large.
    """
    if tier not in TIERS:
        raise UsageError(f"unknown tier {tier!r}: expected one of {', '.join(TIERS)}")
    with contextlib.ExitStack() as stack:
        held: dict[str, Held] = {}
        for name, path in files.items():
            descriptor = open_regular(path)
            stack.callback(os.close, descriptor)
            limits.require("file_bytes", os.fstat(descriptor).st_size, where=name)
            stays = keep and _becomes_tensors(name, descriptor)
            taken = hold(descriptor, tier=tier, name=name, algorithm=algorithm, keep=stays)
            try:
                held[name] = stack.enter_context(taken)
            except OSError as error:
                raise UsageError(f"cannot hold {name} {tier}: {error.strerror}") from error
        sources = {
            name: Source(name=name, path=each.path, size=each.size, memory=each.memory)
            for name, each in held.items()
        }
        whole = Snapshot(sources=sources, held=held)
        yield whole
        whole.confirm()


def _becomes_tensors(name: str, descriptor: int) -> bool:
    """Whether a file is of tensors that can stay where its bytes were read to."""
    if name.endswith(_ZIPPED):
        return os.pread(descriptor, len(_ZIP), 0) == _ZIP
    return name.endswith(".safetensors")


def _descriptor_path(descriptor: int, path: str | os.PathLike[str]) -> str:
    place = f"/proc/self/fd/{descriptor}"
    return place if Path(place).exists() else os.fspath(path)
