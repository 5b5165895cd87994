"""Signals to another process without kill(2): the kernel sends them for a descriptor.

Source: fcntl(2), F_SETOWN, F_SETSIG and O_ASYNC; Linux 6.18, include/uapi/asm-generic/ioctls.h and
sockios.h; syscalls(2) for numbers.
"""

from __future__ import annotations

import os
import platform
import signal
import struct

F_NOTIFY, F_SETSIG, F_SETOWN_EX = 1026, 10, 15
FIOASYNC, FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCSPGRP = 0x5452, 0x8901, 0x8902, 0x5412, 0x5410
FCNTL = {"x86_64": 72, "aarch64": 25}.get(platform.machine(), 72)

OLDER_KERNEL = """
import py_landlock.abi as abi, py_landlock.landlock as landlock
landlock.get_supported_scope = lambda version: abi.Scope(0)  # as on Linux 5.13 to 6.11
"""


def owner(victim: int) -> bytes:
    """A struct f_owner_ex that names a process."""
    return struct.pack("ii", 1, victim)


def attempts(victim: int) -> dict[str, str]:
    """Name → Python statements that make the kernel signal a process."""
    begin = f"fcntl.fcntl(2, {F_SETSIG}, {int(signal.SIGTERM)})"
    end = "fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_ASYNC)"
    owned = f"fcntl.fcntl(2, fcntl.F_SETOWN, {victim})"
    high = f"libc.syscall({FCNTL}, 2, ctypes.c_long(1 << 32 | %d), ctypes.c_long(%d))"
    return {
        "owner": f"{begin}; {owned}; {end}",
        "owner by structure": f"{begin}; fcntl.fcntl(2, {F_SETOWN_EX}, {owner(victim)!r}); {end}",
        "owner by ioctl": f"{begin}; fcntl.ioctl(2, {FIOSETOWN}, {owner(victim)[4:]!r}); {end}",
        "signals by ioctl": f"{begin}; {owned}; fcntl.ioctl(2, {FIOASYNC}, b'\\x01\\0\\0\\0')",
        "high bits": "; ".join([high % (F_SETSIG, signal.SIGTERM), high % (8, victim),
                                high % (4, os.O_ASYNC)]),
    }  # fmt: skip
