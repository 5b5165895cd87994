"""Read leases on files, and the file systems on which they bind every writer.

open descriptor → `file_system` (type) → `take_lease` → `has_lease` while the bytes are used

A kernel knows the writers of its own machine only. It grants leases on FUSE and some network file
systems too, whose other side changes files unseen, and on overlayfs, whose layers can be written
to directly. There, and on types that are not in the list, no lease is taken.

Source: fcntl(2), "Leases"; statfs(2); Linux 6.18, include/uapi/linux/magic.h, and ZFS_SUPER_MAGIC
of OpenZFS 2.3, include/sys/fs/zfs.h.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

LOCAL: Final = {
    0xEF53: "ext4",  # ext2 and ext3 too
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x2FC12FC1: "zfs",
}
"""Type → name of file systems that only this kernel writes to."""
_ROOM: Final = 512  # bytes; chosen: struct statfs has 120 (Linux, 64 bits)
_TYPE_BITS: Final = 0xFFFFFFFF  # magic numbers have 32 bits, and f_type may be signed


def file_system(descriptor: int) -> int:
    """Type of the file system of an open file; 0 where it cannot be found out.

    Examples:
        >>> with open("file", "w") as stream:
        ...     isinstance(file_system(stream.fileno()), int)
        True
    """
    import ctypes  # noqa: PLC0415 - large files only

    found = (ctypes.c_long * (_ROOM // ctypes.sizeof(ctypes.c_long)))()
    try:
        failed = ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, found)
    except (OSError, AttributeError, TypeError):
        return 0
    return 0 if failed else found[0] & _TYPE_BITS  # f_type is the first field on Linux


def take_lease(descriptor: int) -> bool:
    """Ask the kernel to hold back writers of a file; False where that would not bind them all.

    The kernel refuses when somebody has the file open for writing, when the file is another user's
    and the process lacks CAP_LEASE, and outside Linux; on file systems that are not in `LOCAL` it
    is not asked.
    """
    if file_system(descriptor) not in LOCAL:
        return False
    try:
        import fcntl  # noqa: PLC0415 - not everywhere

        # A lease that breaks sends a signal. The default one, SIGIO, kills a process without a
        # handler, and only the main thread may install one; SIGURG is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (ImportError, AttributeError, OSError):
        return False
    return Path("/proc/self/fd").is_dir()


def has_lease(descriptor: int) -> bool:
    """Whether the lease is whole: one that is being broken answers with what it must become."""
    import fcntl  # noqa: PLC0415 - not everywhere

    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def end_lease(descriptor: int) -> None:
    """Let the writers go on that the kernel holds back; closing the file does so too."""
    import fcntl  # noqa: PLC0415 - not everywhere

    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
