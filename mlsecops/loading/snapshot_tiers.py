"""Snapshot tiers: sealed memory, a read lease on the file, or a private copy.

open descriptor → `hold` → Held, a piece to hash with the target of its bytes → `seal`

- `sealed` copies into an anonymous file in memory that the kernel refuses to write, grow or shrink.
- `pinned` copies nothing: a read lease makes the kernel hold back writers and report them, on file
  systems that only this kernel writes to (`leases`).
- `private-copy` copies into a file that only this process opens.

The first two fall back to the next one where the system or the file does not support them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from mlsecops._platform import CLOEXEC, write_at
from mlsecops.errors import ChangedDuringLoad
from mlsecops.loading.leases import has_lease, take_lease
from mlsecops.loading.memory import Memory
from mlsecops.provenance.files.pieces import Found, HashTarget, Piece, stamp_of

Tier: TypeAlias = Literal["sealed", "pinned", "private-copy"]
TIERS: Final[tuple[Tier, ...]] = ("sealed", "pinned", "private-copy")
"""From the strongest guarantee to the weakest."""
CHUNK: Final = 1 << 20  # bytes; chosen: a part that is read and hashed before it leaves the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One file's bytes, to be hashed, then sealed, then read.

    Attributes:
        path: Path that opens the held bytes.
        tier: How they are held.
        piece: The whole file, with the target of its bytes where they are copied.
        memory: Memory of this process that the bytes are read into, or None.
        seal: Makes the held bytes unchangeable; called once they are hashed.
        confirm: Demands that nobody changed them since they were hashed.
    """

    path: str
    tier: Tier
    piece: Piece
    memory: memoryview | None = None
    seal: Callable[[], object] = lambda: None
    confirm: Callable[[], object] = lambda: None


@contextlib.contextmanager
def hold(descriptor: int, *, tier: Tier, name: str, keep: bool = False) -> Iterator[Held]:
    """Prepare to hold a file's bytes; hashing them fills the place where they are held.

    Args:
        descriptor: The file, open for reading.
        tier: Wanted tier; see the module.
        name: Name for messages.
        keep: Whether the bytes become tensors as they are: a pinned file is then read into the
            memory where its tensors stay.

    Raises:
        OSError: The system refuses memory or disk.
    """
    if tier == "pinned" and take_lease(descriptor):
        yield pinned(descriptor, name, keep=keep)
        return
    copied = _sealed if tier != "private-copy" and can_seal() else _private
    found = Found(name, os.fstat(descriptor).st_size)
    with copied(descriptor, found) as held:
        yield held


def can_seal() -> bool:
    """Whether the system has anonymous files that can be sealed.

    Examples:
        >>> isinstance(can_seal(), bool)
        True
    """
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def pinned(descriptor: int, name: str, *, keep: bool = False) -> Held:
    """Hold a leased file where it is.

    Args:
        descriptor: The file, open for reading and leased.
        name: Name for messages.
        keep: As for `hold`.
    """
    status = os.fstat(descriptor)  # after the lease: from here on nobody writes
    found = Found(name, status.st_size, stamp=stamp_of(status))
    memory, target = _memory(found.size) if keep and found.size else (None, None)

    def confirm() -> None:
        if not has_lease(descriptor):
            raise _changed(name, "nobody else writing", "a writer waiting for it")
        now = os.fstat(descriptor)
        if stamp_of(now) != found.stamp:
            late = now.st_ctime_ns - status.st_ctime_ns
            got = f"size {found.size} → {now.st_size}, changed {late} ns later"
            raise _changed(name, "unchanging size and times", got)

    return Held(
        path=f"/proc/self/fd/{descriptor}",
        tier="pinned",
        piece=Piece(found, descriptor=descriptor, target=target),
        memory=memory,
        confirm=confirm,
    )


def _memory(size: int) -> tuple[memoryview, HashTarget]:
    """Fresh memory for a file of a size, faulted in as it is filled."""
    fresh = Memory(size, pieces=1)
    whole, _ = fresh.take(0)
    held = memoryview(whole)[:size]

    def room(at: int, _: int) -> memoryview:
        fresh.take(min(CHUNK, size - at))
        return held[at : at + CHUNK]

    return held, HashTarget(room=room)


@contextlib.contextmanager
def _sealed(descriptor: int, found: Found) -> Iterator[Held]:
    import fcntl  # noqa: PLC0415 - only where memfd exists

    # F_SEAL_SEAL too: nobody may loosen or add seals later.
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    memory = os.memfd_create("mlsecops", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield Held(
            path=f"/proc/self/fd/{memory}",
            tier="sealed",
            piece=_copying(descriptor, memory, found),
            seal=lambda: fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals),
        )
    finally:
        os.close(memory)


@contextlib.contextmanager
def _private(descriptor: int, found: Found) -> Iterator[Held]:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        place = Path(folder, "model")
        file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o400)
        with contextlib.ExitStack() as writing:
            writing.callback(os.close, file)
            piece = _copying(descriptor, file, found)
            yield Held(path=str(place), tier="private-copy", piece=piece, seal=writing.close)


def _copying(source: int, copy: int, found: Found) -> Piece:
    """The whole file as a piece whose bytes are written to a copy while they are hashed."""

    def write(part: memoryview, at: int) -> None:
        while part:
            count = write_at(copy, part, at)
            part, at = part[count:], at + count

    return Piece(found, descriptor=source, target=HashTarget(write=write))


def _changed(name: str, expected: str, got: str) -> ChangedDuringLoad:
    return ChangedDuringLoad(
        f"{name} changed while it was being read: expected {expected}, got {got}; "
        "stop the writer and retry"
    )
