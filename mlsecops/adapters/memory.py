"""Where tensors are copied to when the bytes they were read from do not last.

A size comes in, memory of one's own goes out piece by piece, in huge pages where the system has
them: faulting in small pages costs more than the copy.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

_ALIGNED: Final = 64
_WORTH: Final = 1 << 21


class Memory:
    """Fresh memory, handed out from its start; unused pages of it cost nothing.

    Args:
        size: Bytes that will be asked for, alignment not counted.
        pieces: In how many pieces at most.
    """

    def __init__(self, size: int, *, pieces: int) -> None:
        self._map = mmap.mmap(-1, max(1, size + pieces * _ALIGNED))
        self._next = 0
        if size >= _WORTH and hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)

    def take(self, size: int) -> tuple[mmap.mmap, int]:
        """The memory and the offset of the next piece; whoever keeps the memory keeps it whole."""
        start = self._next
        self._next += -(-size // _ALIGNED) * _ALIGNED
        return self._map, start


def forget(address: int, size: int) -> None:
    """Give mapped pages of a file back that were read and are not needed any more.

    They would count as the process's own otherwise, beside the copy that was made of them.
    """
    page = mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if end > start and hasattr(mmap, "MADV_DONTNEED"):
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
