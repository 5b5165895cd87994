"""File opening without following links: regular files, by a path or below a folder.

path → regular file's descriptor, or UnsafeContent

Below a folder every name is opened relative to the descriptor of the one above it, so that a folder
that is swapped for a symlink meanwhile is refused. On Windows, where folders have no descriptors,
every name is looked at before it is opened by its path, and a file once more when it is open: what
is swapped for a link between two looks is noticed in files, not in folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final, Self, TypeAlias

from mlsecops._platform import CLOEXEC, DIRECTORY, HAS_FOLDER_DESCRIPTORS, NOFOLLOW, NONBLOCK
from mlsecops.errors import UnsafeContent, UsageError
from mlsecops.provenance.files.urls import is_url

# O_NONBLOCK: opening a pipe that nobody writes must be refused at once, not wait.
_FILE: Final = os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK
_REPARSE_POINT: Final = 0x400  # Windows: FILE_ATTRIBUTE_REPARSE_POINT, a link or junction
Folder: TypeAlias = int | str
"""Descriptor of an open folder, or its path where the system has no such descriptors."""
_FOLDER: Final = os.O_RDONLY | NOFOLLOW | CLOEXEC | DIRECTORY


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a regular file without following a symlink at its end; the caller closes the descriptor.

    Raises:
        UnsafeContent: It is a symlink, device, socket, pipe or folder.
        UsageError: It cannot be opened.
    """
    if not HAS_FOLDER_DESCRIPTORS:
        return _open_looked_at(os.fspath(path))
    return _require_regular(_open(os.fspath(path), _FILE, None, os.fspath(path)), path)


def followed(path: str | os.PathLike[str]) -> str:
    """Real path of a caller's path, which may contain symlinks.

    Raises:
        UsageError: It is a URL, or it changes meanwhile.
    """
    if is_url(path):
        raise UsageError(
            f"{os.fspath(path)} is a URL: expected a local file or folder; hash, sign and verify "
            "read URLs, everything else a copy: download it first"
        )
    try:
        return os.path.realpath(os.fspath(path))
    except OSError as error:  # it was a link when it was looked at, and none when it was read
        raise UsageError(
            f"cannot read {os.fspath(path)}: {error.strerror}; it changes meanwhile: stop the "
            "writer and retry"
        ) from error


class Below:
    """Opens files and folders below a folder, no symlink; a context that closes its descriptors.

    Raises:
        UnsafeContent: A file or folder on the way is a symlink, or of another kind.
        UsageError: One cannot be opened.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._top = _open_folder(root, None, root)
        self._name = ""
        self._folder = self._top

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        _close(self._top)

    def folder(self, name: str) -> Folder:
        """Descriptor of a folder below, by relative POSIX name; valid until the next call."""
        if name != self._name:
            self._leave()
            self._folder, self._name = self._descend(name), name
        return self._folder

    def file(self, name: str) -> int:
        """Open a regular file below, by relative POSIX name; the caller closes it."""
        parent, _, last = name.rpartition("/")
        where = f"{self._root}/{name}"
        folder = self.folder(parent)
        if isinstance(folder, str):
            return _open_looked_at(where)
        return _require_regular(_open(last, _FILE, folder, where), where)

    def _descend(self, name: str) -> Folder:
        current, where = self._top, self._root
        for part in name.split("/") if name else ():
            where = f"{where}/{part}"
            try:
                below = _open_folder(part, current, where)
            finally:
                if current != self._top:
                    _close(current)
            current = below
        return current

    def _leave(self) -> None:
        if self._folder != self._top:
            _close(self._folder)
        self._folder, self._name = self._top, ""


def _open_folder(name: str, folder: Folder | None, where: str) -> Folder:
    """A folder's descriptor, or its path where the system has none."""
    if isinstance(folder, str) or not HAS_FOLDER_DESCRIPTORS:
        _looked_at(where, stat.S_ISDIR, "folder")
        return where
    return _open(name, _FOLDER, folder, where)


def _open_looked_at(where: str) -> int:
    """A regular file's descriptor, by its path, which led to the same file before."""
    before = _looked_at(where, stat.S_ISREG, "regular file")
    try:
        descriptor = os.open(where, _FILE)
    except OSError as error:
        raise UsageError(f"cannot read {printable(where)}: {error.strerror}") from error
    now = os.fstat(descriptor)
    if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
        os.close(descriptor)
        raise refused_kind(where, "another file than a moment ago")
    return descriptor


def _looked_at(where: str, is_wanted: Callable[[int], bool], wanted: str) -> os.stat_result:
    try:
        status = os.lstat(where)
    except OSError as error:
        raise UsageError(f"cannot read {printable(where)}: {error.strerror}") from error
    if getattr(status, "st_file_attributes", 0) & _REPARSE_POINT:
        raise refused_kind(where, "a link", wanted=wanted)
    if not is_wanted(status.st_mode):
        raise refused_kind(where, kind_of(status.st_mode), wanted=wanted)
    return status


def _close(folder: Folder) -> None:
    if isinstance(folder, int):
        os.close(folder)


def _open(name: str, flags: int, folder: int | None, where: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        kind = _obstacle(name, flags, folder)
        if kind is not None:
            raise refused_kind(where, kind, wanted=_wanted(flags)) from error
        raise UsageError(f"cannot read {printable(where)}: {error.strerror}") from error


def _obstacle(name: str, flags: int, folder: int | None) -> str | None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return None
    if flags == _FOLDER and stat.S_ISDIR(mode):
        return None
    if flags == _FILE and stat.S_ISREG(mode):
        return None
    return kind_of(mode)


def _wanted(flags: int) -> str:
    return "folder" if flags == _FOLDER else "regular file"


def _require_regular(descriptor: int, path: str | os.PathLike[str]) -> int:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise refused_kind(path, kind_of(mode))
    return descriptor


def kind_of(mode: int) -> str:
    """Kind of file of a mode, in words."""
    names = (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISLNK, "a symlink"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a pipe"),
    )
    return next((name for test, name in names if test(mode)), "a device")


def refused_kind(
    path: str | os.PathLike[str], kind: str, *, wanted: str = "regular file"
) -> UnsafeContent:
    """Error for a path of another kind than expected."""
    where = printable(os.fspath(path))
    return UnsafeContent(
        f"{where} is {kind}: expected a {wanted}; put the {wanted.rpartition(' ')[2]} itself "
        "there, or ignore it",
        rule="not-a-regular-file",
        where=where,
    )


def printable(path: str) -> str:
    """A path in printable form, whatever bytes its name has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
