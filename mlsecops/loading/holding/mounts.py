"""Mounts in a private folder: a memory file system, and open files bound to names in it.

folder → `mount_memory` → `bind_file` → `make_read_only` → `unmount`

Only a process that may mount (CAP_SYS_ADMIN) gets them; elsewhere each call raises an OSError.

Source: mount(2), umount2(2); tmpfs(5).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

__all__ = ["bind_file", "make_read_only", "mount_memory", "unmount"]

_RDONLY: Final = 0x1  # MS_RDONLY of Linux's include/uapi/linux/mount.h, as the next ones
_PLAIN: Final = 0x2 | 0x4 | 0x8  # MS_NOSUID, MS_NODEV and MS_NOEXEC
_REMOUNT: Final = 0x20  # MS_REMOUNT
_BIND: Final = 0x1000  # MS_BIND
_DETACH: Final = 0x2  # MNT_DETACH: at once, whoever still reads


def mount_memory(folder: str) -> None:
    """Mount an empty file system in memory, without limits of its own, for its owner alone."""
    _mount("tmpfs", folder, "tmpfs", _PLAIN, "mode=0700,size=0,nr_inodes=0")


def bind_file(descriptor: int, place: str) -> None:
    """Show an open file, read-only, in the place of another."""
    _mount(f"/proc/self/fd/{descriptor}", place, "", _BIND, "")
    _mount("", place, "", _BIND | _REMOUNT | _RDONLY | _PLAIN, "")


def make_read_only(folder: str) -> None:
    """Let nobody write to a mounted file system any more.

    Raises:
        OSError: A file in it is open for writing.
    """
    _mount("", folder, "", _REMOUNT | _RDONLY | _PLAIN, "")


def unmount(place: str) -> None:
    """Take a mount away; who has files in it open keeps them."""
    _checked(ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(place), _DETACH), place)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mount") or not Path("/proc/self/fd").is_dir():
        raise OSError(0, "no mounts on this system", target)
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    failed = libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None)
    _checked(failed, target)


def _checked(failed: int, place: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
