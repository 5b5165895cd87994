"""Mapped windows of a large file, hashed where the kernel keeps them: no byte is copied.

open file, span → read lease → windows in memory → hash; what is not mapped is left to be read

A mapping of a file that is cut meanwhile ends the process with a signal. So windows are mapped only
while a lease holds writers back, and pages are fetched by a call that reports what a disk cannot
read. Where either is missing, and after a writer has asked, the rest is read.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

from mlsecops.provenance.digest import Hash
from mlsecops.provenance.files.leases import end_lease, has_lease, take_lease

WINDOW: Final = (
    16 << 20
)  # bytes; measured: smaller ones cost more, and a writer waits for one (10 ms)
_POPULATE_READ: Final = 22  # MADV_POPULATE_READ; Linux 5.14, asm-generic/mman-common.h
_NATIVE: Final = frozenset({"_hashlib", "_sha2", "_sha256", "_sha512", "_blake2", "blake3"})
"""Modules of hashes that run no Python code, which could wait for a writer that waits for us."""


def hash_mapped(descriptor: int, start: int, stop: int, running: Hash) -> int:
    """Hash the bytes from `start` up to `stop`, or the first of them; return their number.

    Args:
        descriptor: A regular file that nobody else reads through this descriptor: its lease is
            taken and, if a writer asks, given back.
        start: First byte.
        stop: Byte after the last.
        running: The hash.
    """
    if type(running).__module__.partition(".")[0] not in _NATIVE or not take_lease(descriptor):
        return 0
    at = start
    if os.fstat(descriptor).st_size >= stop:
        while at < stop and has_lease(descriptor):
            end = min(at + WINDOW, stop)
            if end < stop:  # a length of 0 would mean the rest of the file
                length = min(WINDOW, stop - end)
                os.posix_fadvise(descriptor, end, length, os.POSIX_FADV_WILLNEED)
            if not _hash_window(descriptor, at, end, running):
                break
            at = end
    end_lease(descriptor)
    return at - start


def _hash_window(descriptor: int, start: int, stop: int, running: Hash) -> bool:
    skipped = start % mmap.ALLOCATIONGRANULARITY
    try:
        window = mmap.mmap(
            descriptor,
            stop - start + skipped,
            mmap.MAP_SHARED,
            mmap.PROT_READ,
            offset=start - skipped,
        )
    except (OSError, ValueError):
        return False
    with window:
        try:
            window.madvise(_POPULATE_READ)
        except OSError:  # an older kernel, or a part that cannot be read
            return False
        with memoryview(window) as view, view[skipped:] as part:
            running.update(part)
    return True
