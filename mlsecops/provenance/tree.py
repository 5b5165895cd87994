"""Which files an artifact consists of: every regular file, by relative POSIX name, and no other.

A folder comes in; sorted names with their files go out, and apart from them the names that an
ignore list hides. Whatever cannot be hashed is an error, never a silent skip.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlsecops.errors import UnsafeContent, UsageError
from mlsecops.provenance.hashing import Found, kind_of, printable, refused_kind

SIGNATURE_NAME: Final = "model.sig"
DEFAULT_IGNORE: Final = (".git", ".gitattributes", ".github", ".gitignore", SIGNATURE_NAME)
"""Top-level names that belong to the version control or the signature, not to the artifact."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a folder.

    Attributes:
        files: Relative POSIX name → file, in Unicode code point order.
        ignored: Names of files that the ignore list hides, sorted.
    """

    files: dict[str, Found]
    ignored: tuple[str, ...]


def ignore_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Check an ignore list: relative POSIX paths, each naming a file or a whole folder.

    Raises:
        UsageError: A path is absolute, empty or leaves the folder.
    """
    cleaned = []
    for path in paths:
        parts = path.rstrip("/").split("/")
        if path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
            raise UsageError(
                f"cannot ignore {path!r}: expected a relative path inside the folder, like 'logs'"
            )
        cleaned.append("/".join(parts))
    return tuple(dict.fromkeys(cleaned))


def list_tree(root: str | os.PathLike[str], *, ignore: Iterable[str] = ()) -> Tree:
    """List the regular files under a folder.

    Args:
        root: The folder.
        ignore: Relative paths left out, folders with all they hold.

    Raises:
        UnsafeContent: A symlink, socket, pipe or device, or a name that is not UTF-8.
        UsageError: A folder cannot be read.
    """
    files: dict[str, Found] = {}
    ignored: list[str] = []
    hidden = frozenset(ignore_paths(ignore))
    _visit(os.fspath(root), "", hidden, files, ignored, inside_hidden=False)
    return Tree(dict(sorted(files.items())), tuple(sorted(ignored)))


def _visit(
    folder: str,
    prefix: str,
    hidden: frozenset[str],
    files: dict[str, Found],
    ignored: list[str],
    *,
    inside_hidden: bool,
) -> None:
    for entry in _entries(folder):
        name = f"{prefix}{entry.name}"
        hide = inside_hidden or name in hidden
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _visit(entry.path, f"{name}/", hidden, files, ignored, inside_hidden=hide)
        elif hide:
            ignored.append(printable(name))
        elif not stat.S_ISREG(status.st_mode):
            raise refused_kind(entry.path, kind_of(status.st_mode))
        else:
            files[_utf8(name, entry.path)] = Found(entry.path, status.st_size)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UsageError(f"cannot read folder {printable(folder)}: {error.strerror}") from error


def _utf8(name: str, path: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = printable(path)
        raise UnsafeContent(
            f"{shown}: the name is not valid UTF-8, so no manifest can hold it; rename the file",
            rule="name-not-utf8",
            where=shown,
        ) from error
    return name
