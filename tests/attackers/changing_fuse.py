"""A FUSE file system whose one file has another content at each reading but the first.

The kernel grants a lease on it and knows nothing of the other side. Mounting it needs root and
`/dev/fuse`.

Source: Linux 6.18, include/uapi/linux/fuse.h (protocol 7.31).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _INIT, _OPENDIR = 1, 2, 3, 14, 15, 26, 27
_SILENT = {_FORGET, 36, 42}  # FUSE_INTERRUPT and FUSE_BATCH_FORGET take no answer
_EMPTY = {18, 25, 28, 29, 38}  # RELEASE, FLUSH, READDIR, RELEASEDIR, DESTROY
_ENOENT, _ENOSYS = -2, -38
_NOSUID_NODEV = 6  # mount(2), MS_NOSUID | MS_NODEV
_MNT_DETACH = 2  # umount2(2)


def _attributes(mode: int, size: int, links: int) -> bytes:
    return struct.pack("<6Q10I", 2, size, 8, 1, 1, 1, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def _requests(device: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(device, 1 << 18)
        except OSError:
            os._exit(0)


def _serve(device: int, name: bytes, first: bytes, later: bytes) -> None:
    reads = 0
    folder, file = _attributes(0o40755, 0, 2), _attributes(0o100644, len(first), 1)
    for request in _requests(device):
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        body, error = b"", 0
        if code == _INIT:
            body = struct.pack("<IIIIHHIIHHI7I", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 32, 0, 0,
                               *[0] * 7)  # fmt: skip
        elif code == _LOOKUP:
            found = request[40:].split(b"\0")[0] == name
            body = struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + file if found else b""
            error = 0 if found else _ENOENT
        elif code == _GETATTR:
            body = struct.pack("<QII", 0, 0, 0) + (folder if node == 1 else file)
        elif code in {_OPEN, _OPENDIR}:
            body = struct.pack("<QIi", 1, 0, 0)
        elif code == _READ:
            _, offset, size = struct.unpack_from("<QQI", request, 40)
            reads += offset == 0
            body = (first if reads <= 1 else later)[offset : offset + size]
        elif code in _SILENT:
            continue
        elif code not in _EMPTY:
            error = _ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


@contextlib.contextmanager
def changing(point: Path, name: str, first: bytes, later: bytes) -> Iterator[Path]:
    """The file at a mount point.

    Raises:
        OSError: It cannot be mounted here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"changing", os.fsencode(point), b"fuse", _NOSUID_NODEV, options):
        os.close(device)
        raise OSError(ctypes.get_errno(), "mount")
    child = os.fork()
    if not child:
        _serve(device, name.encode(), first, later)
    os.close(device)
    try:
        yield point / name
    finally:
        libc.umount2(os.fsencode(point), _MNT_DETACH)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
