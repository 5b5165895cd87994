"""Flags, reads, writes and locks of the operating system, and substitutes where it lacks them.

Windows has no flags against links and pipes, no reads at an offset, no locks of whole files and no
forks. What can be done otherwise is done here; the rest is refused by name where it is asked for.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from mlsecops.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of every file: closed in started programs, and read byte by byte on Windows."""
NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
"""Flag that refuses a link; 0 where there is none."""
NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)
"""Flag that does not wait for the other end of a pipe; 0 where there is none."""
DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
"""Flag that opens folders alone; 0 where folders cannot be opened."""
HAS_FOLDER_DESCRIPTORS: Final = os.open in os.supports_dir_fd and bool(DIRECTORY)
"""Whether names can be opened relative to an open folder."""
_TURN: Final = 0.002  # seconds between two tries of a lock; chosen: a fifth of a synced write
_OFFSET: Final = threading.Lock()  # of descriptors whose position is moved to read or write


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Bytes of a file from an offset on, at most `count`."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _OFFSET:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill a buffer with bytes of a file from an offset on; gives their number."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = read_at(descriptor, len(view), offset)
    view[: len(data)] = data
    return len(data)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> int:
    """Write bytes into a file from an offset on; gives the number written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _OFFSET:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def lock_whole(
    descriptor: int,
    path: str | os.PathLike[str],
    *,
    patience: float = math.inf,
    shared: bool = False,
) -> None:
    """Wait for the lock of a file, which ends with the process or the descriptor.

    Args:
        descriptor: The open file.
        path: Its path, for messages.
        patience: Seconds to wait.
        shared: Whether others may hold it too, unless they want it alone.

    Raises:
        TimeoutError: Another process kept it for that long.
        UsageError: The system has no such locks.
    """
    if fcntl is None:
        raise UsageError(
            f"{os.fspath(path)}: expected locks of whole files (flock: Linux, macOS), got "
            f"{sys.platform}, which has none; keep the registry in a bucket"
        )
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if patience == math.inf:
        fcntl.flock(descriptor, kind)
        return
    limit = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                message = f"another process has kept the lock for {patience:g} s; find and end it"
                raise TimeoutError(errno.ETIMEDOUT, message, os.fspath(path)) from None
            time.sleep(_TURN)
        else:
            return


def at_fork(**calls: Callable[[], object]) -> None:
    """Register calls around forks, where the system forks.

    Args:
        calls: As of `os.register_at_fork`.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)
