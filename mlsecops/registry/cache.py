"""Cache of resolved versions: folders of one user that all his processes share.

version → folder, locked while a process uses it; `prune_cache` → least recently used ones go

A process holds a shared lock (`flock`) on each of the folders that it resolved last, and pruning
takes none that is locked. A folder that goes between two calls is built again from the blobs.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mlsecops._choices import checked, number, whole
from mlsecops._platform import CLOEXEC, DIRECTORY, HAS_FOLDER_DESCRIPTORS, NOFOLLOW
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.registry.listing import remove_folder

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked and nothing pruned
    fcntl = None  # type: ignore[assignment]

__all__ = ["UsedFolders", "cache_folder", "prune_cache"]

_MOST_LOCKED: Final = 64  # folders; chosen: well below the usual limit of 1,024 open files
_HOUR: Final = 3_600.0  # seconds; chosen: a path that a command printed is read within it
_DAY: Final = 86_400.0  # seconds; chosen: longer than a copy of any model takes
_ENTRY: Final = re.compile(r"[0-9a-f]{64}")
_FOLDER: Final = os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC
_LEFT: Final = re.compile(r"\.(?:draft|gone)-[0-9a-f]{16}|\.[0-9a-f]{64}\.[0-9a-f]{12}")


def cache_folder(given: str | os.PathLike[str] | None) -> Path:
    """Folder of resolved versions: as given, or the user's own.

    Source: XDG Base Directory Specification 0.8, "Environment variables", XDG_CACHE_HOME.
    """
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache", "mlsecops", "registry")


@concise_repr()
class UsedFolders:
    """Folders that a process resolved last, each locked against pruning."""

    def __init__(self) -> None:
        self._locks: OrderedDict[Path, int] = OrderedDict()
        self._turn = threading.Lock()

    def use(self, folder: Path) -> None:
        """Lock a folder, and note that it is used now; the least recently used lock may go.

        Raises:
            OSError: It is not there.
        """
        if not HAS_FOLDER_DESCRIPTORS:  # Windows, where nothing is pruned
            os.utime(folder)
            return
        descriptor = os.open(folder, _FOLDER)
        with contextlib.suppress(OSError):  # pruning, which cannot lock it either, leaves it
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(OSError):  # another user's, who prunes it
            os.utime(descriptor)
        with self._turn:
            released = [self._locks.pop(folder)] if folder in self._locks else []
            self._locks[folder] = descriptor
            while len(self._locks) > _MOST_LOCKED:
                released.append(self._locks.popitem(last=False)[1])
        for each in released:
            os.close(each)

    def __del__(self) -> None:
        for descriptor in self._locks.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)


@checked
def prune_cache(
    cache: str | os.PathLike[str] | None = None,
    *,
    max_bytes: int,
    unused_for: float = _HOUR,
    clock: Callable[[], float] = time.time,
) -> int:
    """Delete the least recently used versions from a cache, until it is small enough.

    Kept are versions that a process with a `Registry` resolved and may be reading, and those that
    were used lately. What killed processes left behind goes after a day. Nothing of the registry
    changes, and what is asked for again is built again.

    Args:
        cache: The folder; by default as for `Registry`.
        max_bytes: Bytes of files that may stay, ≥ 0.
        unused_for: Seconds for which a version must not have been resolved to go, ≥ 0.
        clock: Seconds since 1970.

    Returns:
        Bytes of the files that were deleted.

    Raises:
        UsageError: The folder cannot be read, or a number is out of its range.
    """
    folder = cache_folder(cache)
    left = whole("max_bytes", max_bytes, "a number of bytes", 0)
    unused_for = number("unused_for", unused_for, "seconds from 0 on", lambda each: each >= 0)
    try:
        found = [*_found(folder)]
    except OSError as error:
        raise UsageError(f"cache: cannot read {folder}: {error.strerror}") from error
    total = sum(size for _, size, path in found if _ENTRY.fullmatch(path.name))
    freed, now = 0, clock()
    for used, size, path in sorted(found):
        entry = _ENTRY.fullmatch(path.name) is not None
        wanted = total > left if entry else True
        if wanted and now - used >= (unused_for if entry else _DAY) and _removed(path):
            freed += size
            total -= size if entry else 0
    return freed


def _found(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of use, bytes and path of each version, and of what killed processes left."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            known = _ENTRY.fullmatch(entry.name) or _LEFT.fullmatch(entry.name)
            if known and entry.is_dir(follow_symlinks=False):
                path = Path(entry.path)
                yield entry.stat(follow_symlinks=False).st_mtime, _size(path), path


def _size(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(inner, name)).st_size  # noqa: PTH118 - of many files
        for inner, _, names in os.walk(folder)
        for name in names
    )


def _removed(folder: Path) -> bool:
    """Whether a folder was deleted; not one that is in use, or that somebody else took."""
    if not HAS_FOLDER_DESCRIPTORS:  # Windows: no lock says whether it is in use
        return False
    gone = folder.with_name(f".gone-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(folder, _FOLDER)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.rename(gone)  # nobody finds half of it
        finally:
            os.close(descriptor)
        remove_folder(gone)
    except OSError:
        return False
    return True
