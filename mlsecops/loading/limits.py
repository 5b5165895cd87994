"""Resource limits of scanning and loading: sizes, counts, nesting and CPU time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import LimitExceeded

MIB = 1 << 20  # bytes
PIECE: Final = 1 << 20  # bytes read or written at once; chosen: few calls, little memory
ANY_RATIO: Final = 64 * MIB  # bytes; chosen: zeros compress 1000:1, so small files may


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what an artifact declares, checked before the bytes are read.

    Attributes:
        file_bytes: Bytes of one file.
        header_bytes: Bytes of a header or configuration (safetensors header, `config.json`,
            pickle of a torch archive).
        tensors: Number of tensors, arrays or archive entries.
        opcodes: Pickle opcodes in one file.
        depth: Nesting levels of a configuration.
        ratio: Uncompressed bytes for each stored byte, of all archives in each other together.
        bytes: Uncompressed bytes of a file with everything nested in it.
        seconds: CPU seconds for one file, of a library in a worker process (HDF5), and for an
            archive with everything nested in it; fewer for a small one, see `Budget`.

    Examples:
        >>> Limits(tensors=1).require("tensors", 2, where="a.npz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mlsecops.errors.LimitExceeded: a.npz: tensors is 2: expected at most 1; raise ...
    """

    file_bytes: int = 1 << 40
    header_bytes: int = 100 * MIB
    tensors: int = 100_000
    opcodes: int = 20_000_000
    depth: int = 100
    ratio: int = 100
    bytes: int = 1 << 40
    seconds: int = 60

    def require(self, limit: str, got: int, *, where: str) -> None:
        """Demand that a declared number is within its limit.

        Args:
            limit: Name of the limit.
            got: The declared number.
            where: Place in the artifact.

        Raises:
            LimitExceeded: It is over.
        """
        most: int = getattr(self, limit)
        if got > most:
            raise LimitExceeded(
                f"{where}: {limit} is {got}: expected at most {most}; "
                f"raise Limits({limit}=…) if this file is meant to be so large"
            )

    def require_expansion(self, stored: int, expanded: int, *, where: str) -> None:
        """Demand that compressed bytes do not expand too far.

        Args:
            stored: Compressed bytes.
            expanded: Uncompressed bytes, declared or read so far.
            where: Place in the artifact.

        Raises:
            LimitExceeded: They do.
        """
        most = min(self.file_bytes, max(self.ratio * stored, ANY_RATIO))
        if expanded > most:
            raise LimitExceeded(
                f"{where}: holds {expanded} bytes in {stored}: expected at most {most}; "
                "raise Limits(ratio=…) if this file is meant to be so large"
            )


class Budget:
    """Bytes and CPU time of one artifact with everything nested in it.

    Args:
        limits: The limits.
        stored: Bytes of the outermost file.
    """

    def __init__(self, limits: Limits, stored: int) -> None:
        self._most = min(limits.bytes, max(limits.ratio * stored, ANY_RATIO))
        self._seconds = min(limits.seconds, SMALL_SECONDS + stored / MIB)
        self._spent, self._begun = 0, time.thread_time()

    def spend(self, count: int, *, where: str) -> None:
        """Take bytes that were unpacked, and demand that time is left.

        Raises:
            LimitExceeded: The budget is used up.
        """
        self._spent += count
        if self._spent > self._most:
            raise LimitExceeded(
                f"{where}: more than {self._most} bytes unpacked in all: expected fewer for its "
                "size; raise Limits(ratio=…, bytes=…) if this file is meant to be so large"
            )
        if time.thread_time() - self._begun > self._seconds:
            raise LimitExceeded(
                f"{where}: not unpacked and scanned within {self._seconds:.0f} CPU seconds; "
                "unpack it and scan its files"
            )


SMALL_SECONDS: Final = 4.0  # CPU seconds; chosen: half of what any input of 1 MB may take
_current: ContextVar[Budget | None] = ContextVar("mlsecops_scan_budget", default=None)


@contextlib.contextmanager
def budget(limits: Limits, stored: int) -> Iterator[Budget]:
    """The budget of the archive around, or a new one for the outermost."""
    found = _current.get() or Budget(limits, stored)
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def spend(count: int, *, where: str) -> None:
    """Take bytes from the budget of the archive around, if there is one."""
    found = _current.get()
    if found is not None:
        found.spend(count, where=where)
