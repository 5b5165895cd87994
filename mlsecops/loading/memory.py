"""Fresh memory for tensors, faulted in many pieces at a time, or in the place of mapped files.

size → Memory → memory of this process, piece by piece
open files → `copy_mappings` → mappings of them that are copies

Faulting pages in one at a time costs more than the copy, so many are asked for at once, and huge
pages where the kernel has them ready.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_ALIGNED: Final = 64  # bytes; a cache line, and what vector instructions need
_STRIDE: Final = 4 << 20  # bytes; two huge pages of x86-64, asked for at once
_SMALL_STRIDE: Final = 1 << 20
"""Bytes of small pages asked for at once; measured: they are still in the cache when they are
filled, which saves a twentieth."""
_POPULATE_WRITE: Final = 23  # MADV_POPULATE_WRITE of madvise(2), Linux 5.14; `mmap` lacks it
_COSTLY: Final = 0.3 / (1 << 30)
"""Seconds a byte; measured: small pages take about as long. Huge ones take a third of it where they
are ready, and up to eight times as long where the kernel must first move others."""

_WRITABLE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_REPLACE: Final = 0x1 | 0x2  # MREMAP_MAYMOVE and MREMAP_FIXED of mremap(2), which `mmap` lacks


class Memory:
    """Fresh memory, handed out from its start; what is not handed out costs nothing.

    Args:
        size: Bytes in total, without alignment.
        pieces: Largest number of pieces.

    Examples:
        >>> memory, offset = Memory(100, pieces=1).take(100)
        >>> offset
        0
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
        """The memory and the offset of the next piece; a reference keeps all of the memory."""
        start = self._next
        self._next += -(-size // _ALIGNED) * _ALIGNED
        while self._ready < self._next:
            self._fault_in()
        return self._map, start

    def fault_in(self, start: int, size: int) -> None:
        """Ask for pages at once, from any thread; only small ones if these were costly.

        Args:
            start: Offset of the first byte.
            size: Bytes.
        """
        began, first = time.thread_time(), start // mmap.PAGESIZE * mmap.PAGESIZE
        self._advise(_POPULATE_WRITE, first, start + size - first)
        if self._huge and time.thread_time() - began > _COSTLY * size:
            self._huge = False
            self._advise(mmap.MADV_NOHUGEPAGE, 0, len(self._map))

    def _fault_in(self) -> None:
        """Ask for the pages of the next stride."""
        stride = _STRIDE if self._huge else _SMALL_STRIDE
        self.fault_in(self._ready, stride)
        self._ready += stride

    def _advise(self, advice: int, start: int, length: int) -> None:
        with contextlib.suppress(OSError):  # an older kernel: pages come when they are touched
            self._map.madvise(advice, start, length)


def offset_of(address: int) -> int:
    """Offset in its file of a mapped byte.

    Raises:
        LookupError: The address is not in a mapping of a file.

    Source: proc_pid_maps(5).
    """
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        bounds, _, offset, _, inode = line.split(maxsplit=5)[:5]
        first, end = (int(bound, 16) for bound in bounds.split("-"))
        if first <= address < end and inode != "0":
            return address - first + int(offset, 16)
    raise LookupError(f"no file is mapped at {address:#x}")


def forget(address: int, size: int) -> None:
    """Give back mapped pages of a file that are not needed any more.

    They would otherwise count as memory of the process, in addition to the copy made of them.
    """
    page = mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if end > start and hasattr(mmap, "MADV_DONTNEED"):
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def copy_mappings(descriptors: Collection[int]) -> None:
    """Turn this process's mappings of open files into copies, at the same addresses.

    A reader may have kept a file mapped that others can write to from now on. Its memory shows the
    same bytes before and after, and no later ones. Mappings that it may write through are left.

    Args:
        descriptors: The files; they do not change during the call.

    Raises:
        OSError: There is no memory for a copy.

    Source: proc_pid_maps(5); mremap(2).
    """
    sizes = {status.st_ino: status.st_size for status in map(os.fstat, descriptors)}
    for line in list(_mapped(sizes)):
        bounds, rights, offset, _, inode = line.split(maxsplit=5)[:5]
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        filled = -(-(sizes[int(inode)] - int(offset, 16)) // mmap.PAGESIZE) * mmap.PAGESIZE
        length, used = end - start, max(0, min(end - start, filled))
        fresh = _copied(start, length, used, writable="w" in rights)
        if line not in _mapped(sizes):  # unmapped meanwhile
            ctypes.CDLL(None).munmap(ctypes.c_void_p(fresh), ctypes.c_size_t(length))
            continue
        # PyDLL keeps the interpreter's lock: no Python thread maps anything between look and call.
        mremap = ctypes.PyDLL(None, use_errno=True).mremap
        mremap.restype = ctypes.c_void_p
        size = ctypes.c_size_t(length)
        if mremap(ctypes.c_void_p(fresh), size, size, _REPLACE, ctypes.c_void_p(start)) != start:
            raise OSError(ctypes.get_errno(), "cannot replace a mapping of a pinned file")


def _mapped(inodes: Collection[int]) -> Iterator[str]:
    """Lines of the readable mappings of files that this process cannot write through."""
    if not inodes:
        return
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        _, rights, _, _, inode = line.split(maxsplit=5)[:5]
        if int(inode) in inodes and rights[0] == "r" and rights[2] != "x" and rights[1::2] != "ws":
            yield line


def _copied(start: int, length: int, used: int, *, writable: bool) -> int:
    """Address of private memory with a copy of a mapping, whose last pages may be past the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    size = ctypes.c_size_t(length)
    fresh = libc.mmap(None, size, _WRITABLE, flags, -1, ctypes.c_long(0))
    if fresh in {None, ctypes.c_void_p(-1).value}:
        raise OSError(ctypes.get_errno(), "no memory for a copy of a pinned file")
    ctypes.memmove(fresh, start, used)
    if not writable:
        libc.mprotect(ctypes.c_void_p(fresh), size, mmap.PROT_READ)
    return int(fresh)
