"""Which bytes are meant: a copy that nobody can change between the check and the use.

A path comes in; a Snapshot goes out, hashed while it was copied. In the ``sealed`` tier it is an
anonymous file in memory that the kernel refuses to write, grow or shrink ever again; where that
does not exist it is a private file (``private-copy``), and the result says so.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.loading.limits import Limits
from mlsecops.provenance import Digest
from mlsecops.provenance.digest import Hash, new_hash
from mlsecops.provenance.hashing import open_regular

Tier: TypeAlias = Literal["sealed", "private-copy"]
TIERS: Final = ("sealed", "private-copy")
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Bytes of one file, wherever they are held.

    Attributes:
        name: Name for messages, and for what its extension claims.
        path: Where to open them (``/proc/self/fd/N`` for bytes in memory).
        size: How many there are.
    """

    name: str
    path: str
    size: int

    def stream(self) -> BinaryIO:
        """Open the bytes at their start; each stream has a position of its own."""
        return Path(self.path).open("rb")

    def head(self, count: int = 4096) -> bytes:
        """First bytes."""
        with self.stream() as stream:
            return stream.read(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Bytes that cannot change any more.

    Attributes:
        source: The bytes.
        digest: Their digest, taken while they were copied.
        tier: How they are held.
    """

    source: Source
    digest: Digest
    tier: Tier


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
    path: str | os.PathLike[str],
    *,
    name: str,
    tier: Tier,
    algorithm: str,
    limits: Limits,
) -> Iterator[Snapshot]:
    """Copy a file to where nobody can change it, and hash what was copied.

    Args:
        path: A regular file; a symlink is refused.
        name: Name for messages.
        tier: ``"sealed"``, which falls back to a private copy where the system has no memfd, or
            ``"private-copy"``.
        algorithm: Digest algorithm.
        limits: Ceiling of the size.

    Yields:
        The snapshot; its bytes go when the block ends, mappings of them stay.

    Raises:
        UsageError: The tier is unknown, or the file cannot be opened.
        ChangedDuringLoad: The file grew or shrank meanwhile.
        LimitExceeded: It is too large.
    """
    if tier not in TIERS:
        raise UsageError(f"unknown tier {tier!r}: expected one of {', '.join(TIERS)}")
    hold = _sealed if tier == "sealed" and can_seal() else _private
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        limits.require("file_bytes", size, where=name)
        running = new_hash(algorithm)
        with hold(descriptor, size, name, running) as (place, held):
            yield Snapshot(
                source=Source(name=name, path=place, size=size),
                digest=Digest(algorithm, running.digest()),
                tier=held,
            )
    finally:
        os.close(descriptor)


def can_seal() -> bool:
    """Whether the system has anonymous files that can be sealed."""
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


@contextlib.contextmanager
def _sealed(descriptor: int, size: int, name: str, running: Hash) -> Iterator[tuple[str, Tier]]:
    import fcntl  # noqa: PLC0415 - only where memfd exists

    held = os.memfd_create("mlsecops", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _copy(descriptor, held, size, name, running)
        # F_SEAL_SEAL too: nobody may loosen or add seals later.
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(held, fcntl.F_ADD_SEALS, seals)
        yield f"/proc/self/fd/{held}", "sealed"
    finally:
        os.close(held)


@contextlib.contextmanager
def _private(descriptor: int, size: int, name: str, running: Hash) -> Iterator[tuple[str, Tier]]:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        place = Path(folder, "model")
        held = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            _copy(descriptor, held, size, name, running)
        finally:
            os.close(held)
        yield str(place), "private-copy"


def _copy(source: int, target: int, size: int, name: str, running: Hash) -> None:
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    total = 0
    with (
        os.fdopen(source, "rb", buffering=0, closefd=False) as reader,
        os.fdopen(target, "wb", buffering=0, closefd=False) as writer,
    ):
        while total <= size and (count := reader.readinto(buffer)):
            running.update(view[:count])
            _write(writer, view[:count])
            total += count
    if total != size:
        raise ChangedDuringLoad(
            f"{name} changed while it was being read: expected {size} bytes, got "
            f"{'more' if total > size else total}; stop the writer and retry"
        )


def _write(writer: BinaryIO, view: memoryview) -> None:
    while view:
        view = view[writer.write(view) :]


def _descriptor_path(descriptor: int, path: str | os.PathLike[str]) -> str:
    place = f"/proc/self/fd/{descriptor}"
    return place if Path(place).exists() else os.fspath(path)
