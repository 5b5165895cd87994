"""How one file's bytes are held: where nobody can change them, or where nobody can unnoticed.

`sealed` copies into an anonymous file in memory that the kernel refuses to write, grow or shrink
ever again. `pinned` copies nothing: a read lease makes the kernel hold writers back, and tell. A
`private-copy` is a file of our own. The first two fall back to the next where the system or the
file has no such thing, and the result says so. Bytes are hashed while they are taken.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from mlsecops.errors import ChangedDuringLoad
from mlsecops.loading.memory import Memory
from mlsecops.provenance import Digest
from mlsecops.provenance.digest import new_hash
from mlsecops.provenance.files.hashing import Stamp, hash_descriptor, stamp_of

Tier: TypeAlias = Literal["sealed", "pinned", "private-copy"]
TIERS: Final[tuple[Tier, ...]] = ("sealed", "pinned", "private-copy")
"""From the one that promises most to the one that promises least."""
CHUNK: Final = 1 << 20
OVERLAP_BYTES: Final = 32 << 20
"""From this size on copying and hashing overlap: it is worth a second thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One file's bytes.

    Attributes:
        path: Where to open them.
        size: How many there are.
        digest: Their digest.
        tier: How they are held.
        confirm: Demands that nobody changed them since they were hashed.
        memory: The very bytes that were hashed, where they were read into memory of our own.
    """

    path: str
    size: int
    digest: Digest
    tier: Tier
    confirm: Callable[[], None]
    memory: memoryview | None = None

    @property
    def lasting(self) -> bool:
        """Whether a mapping of them stays as it is for as long as it is mapped."""
        return self.tier != "pinned"


@contextlib.contextmanager
def hold(
    descriptor: int, *, tier: Tier, name: str, algorithm: str, keep: bool = False
) -> Iterator[Held]:
    """Hold a file's bytes and hash them.

    Args:
        descriptor: The file, open for reading.
        tier: How; see the module.
        name: Name for messages.
        algorithm: Digest algorithm.
        keep: Whether the bytes become tensors as they are: a pinned file that is read anyhow to
            be hashed is then read into the memory where they stay.

    Raises:
        ChangedDuringLoad: The file changed meanwhile.
    """
    if tier == "pinned" and take_lease(descriptor):
        yield _pinned(descriptor, name, algorithm, keep=keep)
        return
    copied = _sealed if tier != "private-copy" and can_seal() else _private
    with copied(descriptor, name, algorithm) as held:
        yield held


def can_seal() -> bool:
    """Whether the system has anonymous files that can be sealed."""
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def take_lease(descriptor: int) -> bool:
    """Ask the kernel to hold writers of a file back; False where it will not.

    It will not when somebody has the file open for writing, when the file is another user's and
    the process lacks CAP_LEASE, on most network file systems, and outside Linux.

    Source: fcntl(2), "Leases"; the lease goes with the descriptor.
    """
    try:
        import fcntl  # noqa: PLC0415 - not everywhere

        # A lease that breaks sends a signal. The default one, SIGIO, kills whoever has no handler,
        # and only the main thread may install one; SIGURG is ignored by default. We ask instead.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (ImportError, AttributeError, OSError):
        return False
    return Path("/proc/self/fd").is_dir()


def _pinned(descriptor: int, name: str, algorithm: str, *, keep: bool) -> Held:
    stamp = stamp_of(os.fstat(descriptor))  # after the lease: from here on nobody writes
    memory = None
    if keep and stamp[2]:
        digest, memory = _read(descriptor, name, algorithm)
    else:
        digest = hash_descriptor(descriptor, name, algorithm=algorithm)

    def confirm() -> None:
        if not _leased(descriptor):
            raise _changed(name, "nobody else writing", "a writer waiting for it")
        if stamp_of(os.fstat(descriptor)) != stamp:
            raise _changed(name, "unchanging size and times", _difference(descriptor, stamp))

    return Held(
        path=f"/proc/self/fd/{descriptor}",
        size=stamp[2],
        digest=digest,
        tier="pinned",
        confirm=confirm,
        memory=memory,
    )


def _leased(descriptor: int) -> bool:
    """Whether the lease is whole: one that is being broken answers with what it must become."""
    import fcntl  # noqa: PLC0415 - not everywhere

    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def _difference(descriptor: int, before: Stamp) -> str:
    after = stamp_of(os.fstat(descriptor))
    return f"size {before[2]} → {after[2]}, changed {after[4] - before[4]} ns later"


@contextlib.contextmanager
def _sealed(descriptor: int, name: str, algorithm: str) -> Iterator[Held]:
    import fcntl  # noqa: PLC0415 - only where memfd exists

    memory = os.memfd_create("mlsecops", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size, digest = _copy(descriptor, memory, name, algorithm)
        # F_SEAL_SEAL too: nobody may loosen or add seals later.
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
        yield _copied(f"/proc/self/fd/{memory}", size, digest, "sealed")
    finally:
        os.close(memory)


@contextlib.contextmanager
def _private(descriptor: int, name: str, algorithm: str) -> Iterator[Held]:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        place = Path(folder, "model")
        file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            size, digest = _copy(descriptor, file, name, algorithm)
        finally:
            os.close(file)
        yield _copied(str(place), size, digest, "private-copy")


def _copied(path: str, size: int, digest: Digest, tier: Tier) -> Held:
    return Held(path=path, size=size, digest=digest, tier=tier, confirm=lambda: None)


def _copy(source: int, target: int, name: str, algorithm: str) -> tuple[int, Digest]:
    """Copy a file of the size it has now, and hash the buffers that were written."""
    size = os.fstat(source).st_size
    buffers = [bytearray(min(CHUNK, size + 1)) for _ in range(2 if size > OVERLAP_BYTES else 1)]

    def move(turn: int, at: int) -> memoryview:
        # One byte past the end: a file that grew is told, and one that grows cannot hold us.
        view = memoryview(buffers[turn % len(buffers)])[: size + 1 - at]
        part = view[: os.preadv(source, [view], at)]
        _write(target, part, at)
        return part

    return size, _hashed(move, size, name, algorithm)


def _read(source: int, name: str, algorithm: str) -> tuple[Digest, memoryview]:
    """Read a file of the size it has now into fresh memory, and hash what is there."""
    size = os.fstat(source).st_size
    memory = Memory(size, pieces=1)
    whole, _ = memory.take(0)
    held = memoryview(whole)[:size]

    def move(_: int, at: int) -> memoryview:
        memory.take(min(CHUNK, size - at))
        view = held[at : at + CHUNK]
        return view[: os.preadv(source, [view], at)]

    return _hashed(move, size, name, algorithm, overlap=False), held


def _hashed(
    move: Callable[[int, int], memoryview],
    size: int,
    name: str,
    algorithm: str,
    *,
    overlap: bool = True,
) -> Digest:
    """Hash what a function gives piece by piece.

    Args:
        move: From the turn and the bytes so far to the next bytes; none at the end.
        size: Bytes that are expected.
        name: Name for messages.
        algorithm: Digest algorithm.
        overlap: Whether the next piece of a large file is fetched meanwhile. That is worth it where
            fetching is much work; a piece that was only read is hashed best where it was read,
            out of that core's cache.
    """
    large = size > OVERLAP_BYTES
    running = new_hash(algorithm, threads=large)
    total = 0
    with ThreadPoolExecutor(1) if large and overlap else contextlib.nullcontext() as mover:
        turn, part = 0, move(0, 0)
        while part:
            turn, total = turn + 1, total + len(part)
            following = mover.submit(move, turn, total) if mover else None
            running.update(part)
            part = following.result() if following else move(turn, total)
    if total != size:
        raise _changed(name, f"{size} bytes", "more" if total > size else str(total))
    return Digest(algorithm, running.digest())


def _write(target: int, view: memoryview, at: int) -> None:
    while view:
        count = os.pwrite(target, view, at)
        view, at = view[count:], at + count


def _changed(name: str, expected: str, got: str) -> ChangedDuringLoad:
    return ChangedDuringLoad(
        f"{name} changed while it was being read: expected {expected}, got {got}; "
        "stop the writer and retry"
    )
