"""Where tensors are copied to when the bytes they were read from do not last.

A size comes in, memory of one's own goes out piece by piece. Faulting pages in one at a time costs
more than the copy: they are asked for many at once, and huge where the kernel has such at hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import time
from pathlib import Path
from typing import Final

_ALIGNED: Final = 64
_STRIDE: Final = 4 << 20
_POPULATE_WRITE: Final = 23
"""MADV_POPULATE_WRITE, since Linux 5.14; the module has no name for it yet."""
_COSTLY: Final = 0.3 / (1 << 30)
"""Seconds for a byte: small pages take about as long. Huge ones take a third of it where they lie
ready, and up to eight times as long where the kernel must first move others to make room."""


class Memory:
    """Fresh memory, handed out from its start; what is not handed out costs nothing.

    Args:
        size: Bytes that will be asked for, alignment not counted.
        pieces: In how many pieces at most.
    """

    def __init__(self, size: int, *, pieces: int) -> None:
        # Private: Python's default is shared memory, which has no huge pages and costs twice.
        length = -(-max(1, size + pieces * _ALIGNED) // _STRIDE) * _STRIDE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(-1, length, flags=flags)
        self._next = 0
        self._ready = 0
        self._huge = hasattr(mmap, "MADV_HUGEPAGE") and size >= _STRIDE
        if self._huge:
            self._advise(mmap.MADV_HUGEPAGE, 0, length)

    def take(self, size: int) -> tuple[mmap.mmap, int]:
        """The memory and the offset of the next piece; whoever keeps the memory keeps it whole."""
        start = self._next
        self._next += -(-size // _ALIGNED) * _ALIGNED
        while self._ready < self._next:
            self._fault_in()
        return self._map, start

    def _fault_in(self) -> None:
        """Ask for the pages of the next stride; for small ones from now on if these were costly."""
        start = time.thread_time()
        self._advise(_POPULATE_WRITE, self._ready, _STRIDE)
        self._ready += _STRIDE
        if self._huge and time.thread_time() - start > _COSTLY * _STRIDE:
            self._huge = False
            if self._ready < len(self._map):
                self._advise(mmap.MADV_NOHUGEPAGE, self._ready, len(self._map) - self._ready)

    def _advise(self, advice: int, start: int, length: int) -> None:
        with contextlib.suppress(OSError):  # an older kernel: pages come when they are touched
            self._map.madvise(advice, start, length)


def offset_of(address: int) -> int:
    """Where in its file a mapped byte stands.

    Raises:
        LookupError: It is no mapping of a file.

    Source: proc_pid_maps(5).
    """
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        bounds, _, offset, _, inode = line.split(maxsplit=5)[:5]
        first, end = (int(bound, 16) for bound in bounds.split("-"))
        if first <= address < end and inode != "0":
            return address - first + int(offset, 16)
    raise LookupError(f"no file is mapped at {address:#x}")


def forget(address: int, size: int) -> None:
    """Give mapped pages of a file back that were read and are not needed any more.

    They would count as the process's own otherwise, beside the copy that was made of them.
    """
    page = mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if end > start and hasattr(mmap, "MADV_DONTNEED"):
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
