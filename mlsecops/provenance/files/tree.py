"""File tree of an artifact: every regular file, by relative POSIX name.

folder → sorted names with their files, and the names that an ignore list hides → pieces to hash

Whatever cannot be hashed is an error, never skipped silently. A link is refused, unless it leads
from a snapshot of a Hugging Face cache to a blob of the same repository.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from mlsecops.errors import ChangedDuringLoad, MLSecOpsError, UnsafeContent, UsageError
from mlsecops.provenance.files.hub_cache import TOOL_STATE, etag_of, linked_blob
from mlsecops.provenance.files.opening import Below, Folder, kind_of, printable, refused_kind
from mlsecops.provenance.files.pieces import Found, stamp_of

SIGNATURE_NAME: Final = "model.sig"
DEFAULT_IGNORE: Final = (
    ".git", ".gitattributes", ".github", ".gitignore", SIGNATURE_NAME, TOOL_STATE
)  # fmt: skip
"""Paths of version control, signature and download state, which are no part of the artifact."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a folder by relative POSIX name, and the ignored names, both sorted.

    Attributes:
        files: Name → file.
        ignored: Names that the ignore list hides.
        etags: Name → ETag of files that are links to blobs.
    """

    files: dict[str, Found]
    ignored: tuple[str, ...]
    etags: dict[str, str] = field(default_factory=dict)


def ignore_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Check an ignore list: relative POSIX paths, each naming a file or a whole folder."""
    cleaned = []
    for path in paths:
        parts = path.rstrip("/").split("/")
        if path.startswith("/") or any(part in {"", ".", ".."} for part in parts):
            raise UsageError(
                f"cannot ignore {path!r}: expected a relative path inside the folder, like 'logs'"
            )
        cleaned.append("/".join(parts))
    return tuple(dict.fromkeys(cleaned))


Report: TypeAlias = Callable[[str, MLSecOpsError], object]
"""Called with the relative name of an entry and the error that it is."""


def list_tree(
    root: str | os.PathLike[str],
    *,
    ignore: Iterable[str] = (),
    report: Report | None = None,
    links: Callable[[str], Found | None] = linked_blob,
    hide: Callable[[str, bool], bool] | None = None,
) -> Tree:
    """List the regular files under a folder, without ignored paths and what is in them.

    Args:
        root: The folder.
        ignore: Relative paths.
        report: Takes each entry below the folder that is an error, and the walk goes on; without
            it the first one is raised.
        links: From the real path of a link to the file that it stands for, or None to refuse it;
            by default only links of a hub's snapshot stand for files.
        hide: Whether a relative name (of a folder: True) is hidden besides.

    Raises:
        UnsafeContent: A socket, pipe or device, a symlink other than from a hub's snapshot to its
            blobs, or a name that is not UTF-8.
        ChangedDuringLoad: A file disappeared meanwhile.
        UsageError: A folder cannot be read.
    """
    top = os.fspath(root)
    walk = _Walk(top, os.path.realpath(top), frozenset(ignore_paths(ignore)), report, links, hide)
    with Below(top) as below:
        waiting = [("", False)]
        while waiting:
            name, hidden = waiting.pop()
            try:
                waiting += walk.visit(below.folder(name), name, hidden=hidden)
            except MLSecOpsError as error:
                if report is None or not name:
                    raise
                report(printable(name), error)
    return Tree(dict(sorted(walk.files.items())), tuple(sorted(walk.ignored)), walk.etags)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Result of a walk, which is iterative: depth is no limit."""

    root: str
    real: str
    hidden: frozenset[str]
    report: Report | None
    links: Callable[[str], Found | None]
    hide: Callable[[str, bool], bool] | None
    files: dict[str, Found] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)

    def visit(self, folder: Folder, name: str, *, hidden: bool) -> list[tuple[str, bool]]:
        """Add a folder's files; return its folders, each with whether it is hidden."""
        prefix = f"{name}/" if name else ""
        base = f"{self.root.rstrip('/')}/{prefix}"
        plain = not hidden and self.hide is None
        folders = []
        for entry in _entries(folder, base):
            try:
                status = _status(entry, base)
                relative = f"{prefix}{entry.name}"
                regular = plain and stat.S_ISREG(status.st_mode) and relative.isascii()
                if regular and relative not in self.hidden:  # the usual case, thousands of times
                    stamp = stamp_of(status)
                    found = Found(f"{base}{entry.name}", status.st_size, self.root, stamp)
                    self.files[relative] = found
                    continue
                below = self._add(status, relative, f"{base}{entry.name}", hidden=hidden)
            except MLSecOpsError as error:
                if self.report is None:
                    raise
                self.report(printable(f"{prefix}{entry.name}"), error)
            else:
                folders += below
        return folders

    def _add(
        self, status: os.stat_result, relative: str, path: str, *, hidden: bool
    ) -> list[tuple[str, bool]]:
        """Add a file; a folder is returned, with whether it is hidden."""
        hide = hidden or self._hides(relative, status)
        if stat.S_ISDIR(status.st_mode):
            return [(relative, hide)]
        if hide:
            self.ignored.append(printable(relative))
        elif stat.S_ISREG(status.st_mode):
            found = Found(path, status.st_size, self.root, stamp_of(status))
            self.files[_utf8(relative, path)] = found
        else:
            self._link(_utf8(relative, path), path, status.st_mode)
        return []

    def _hides(self, name: str, status: os.stat_result) -> bool:
        if name in self.hidden:
            return True
        return self.hide is not None and self.hide(name, stat.S_ISDIR(status.st_mode))

    def _link(self, name: str, path: str, mode: int) -> None:
        """Add the blob that a link leads to."""
        link = f"{self.real.rstrip('/')}/{name}"
        found = self.links(link) if stat.S_ISLNK(mode) else None
        if found is None:
            raise refused_kind(path, kind_of(mode))
        self.files[name] = found
        if self.links is linked_blob and (etag := etag_of(link)) is not None:
            self.etags[name] = etag


def _entries(folder: Folder, path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UsageError(f"cannot read folder {printable(path)}: {error.strerror}") from error


def _status(entry: os.DirEntry[str], folder: str) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        path = printable(f"{folder}{entry.name}")
        raise ChangedDuringLoad(
            f"{path} disappeared while its folder was being listed ({error.strerror}): "
            "stop the writer and retry"
        ) from error


def _utf8(name: str, path: str) -> str:
    try:
        if not name.isascii():
            name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = printable(path)
        raise UnsafeContent(
            f"{shown}: the name is not valid UTF-8, so no manifest can hold it; rename the file",
            rule="name-not-utf8",
            where=shown,
        ) from error
    return name
