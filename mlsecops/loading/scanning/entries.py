"""Entries of a folder to scan: its files, and a verdict on each entry that cannot be one.

folder, patterns to leave out → `list_tree` → files by name, verdicts on the rest, excluded names

A link that leads elsewhere, a pipe, a folder without permission or a file that vanishes is a
refusing verdict of its own, and the scan goes on.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from mlsecops.errors import ContentRefused, MLSecOpsError
from mlsecops.findings import Finding, Severity
from mlsecops.loading.verdict import Unchecked, Verdict, refusal
from mlsecops.provenance.files.pieces import Found
from mlsecops.provenance.files.tree import list_tree

UNREADABLE: Final = "unreadable"
EXCLUDED: Final = "excluded"
FOLDER: Final = "folder"
_VERSION_CONTROL: Final = ".git"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanEntries:
    """What a folder holds, for a scan.

    Attributes:
        files: Relative name → file.
        verdicts: On entries that are no files, or cannot be read, or were left out.
        single: Whether it is one file, which has the name of the whole.
        filled: Context in which a file has its bytes, by its name.
    """

    files: Mapping[str, Found]
    verdicts: tuple[Verdict, ...]
    single: bool = False
    filled: Callable[[str], AbstractContextManager[None]] = lambda _name: nullcontext()


class Exclusion:
    """Relative paths that a caller leaves out of a scan.

    Args:
        patterns: Paths below the folder, or patterns with `*`, `?` and `[…]`, for whole paths or
            single names; a folder is left out with everything in it.

    Examples:
        >>> Exclusion(["logs", "*.tmp"])("logs/a.txt"), Exclusion(["*.tmp"])("deep/a.txt")
        (True, False)
    """

    def __init__(self, patterns: Collection[str]) -> None:
        cleaned = (each.removeprefix("./").rstrip("/") for each in patterns)
        each = "|".join(fnmatch.translate(pattern) for pattern in cleaned if pattern)
        self._found = re.compile(each) if each else None

    def __call__(self, name: str) -> bool:
        """Whether a relative path, or a folder above it, is left out."""
        if self._found is None:
            return False
        parts = name.split("/")
        paths = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        return any(self._found.match(each) is not None for each in (*parts, *paths))


def scan_entries(root: str, *, shown: str, exclude: Collection[str] = ()) -> ScanEntries:
    """List a folder for a scan; a problem with one entry is a verdict on it.

    Args:
        root: Real path of the folder.
        shown: The folder as the caller wrote it, for messages.
        exclude: Patterns, as `Exclusion` takes them.

    Raises:
        UsageError: The folder itself cannot be read.
    """
    left_out = Exclusion(exclude)
    verdicts: list[Verdict] = []

    def report(name: str, error: MLSecOpsError) -> None:
        if not left_out(name):
            verdicts.append(problem(f"{shown.rstrip('/')}/{name}", error))

    tree = list_tree(root, ignore=(_VERSION_CONTROL,), report=report)
    files = {name: found for name, found in tree.files.items() if not left_out(name)}
    if hidden := len(tree.files) - len(files):
        verdicts.append(excluded(shown, hidden))
    if tree.ignored and not left_out(_VERSION_CONTROL):
        verdicts.append(_history(f"{shown.rstrip('/')}/{_VERSION_CONTROL}"))
    return ScanEntries(files=files, verdicts=tuple(verdicts))


def problem(path: str, error: MLSecOpsError) -> Verdict:
    """Verdict on an entry that cannot be scanned.

    Args:
        path: The entry, as it is shown.
        error: Why.
    """
    if isinstance(error, ContentRefused):
        finding = refusal(error, artifact=path)
        return Verdict(path=path, format="unknown", findings=(finding,), unchecked=())
    finding = Finding(
        rule=UNREADABLE,
        severity=Severity.HIGH,
        message=f"{error}; scan it as a user who may read it, or leave it out with exclude=",
        where="",
        artifact=path,
    )
    return Verdict(path=path, format=UNREADABLE, findings=(finding,), unchecked=())


def excluded(path: str, count: int) -> Verdict:
    """Verdict on a folder that says how many of its files were left out.

    Args:
        path: The folder, as it is shown.
        count: Number of files.
    """
    finding = Finding(
        rule=EXCLUDED,
        severity=Severity.INFO,
        message=f"{count} of its files left out by request, and not looked into",
        where="",
        artifact=path,
    )
    return Verdict(path=path, format=FOLDER, findings=(finding,), unchecked=())


def _history(path: str) -> Verdict:
    """Verdict on the history and hooks of a repository, which are not looked into."""
    why = "version control data; scan a copy without it, or leave it out with exclude="
    unchecked = Unchecked(what=path, why=why)
    return Verdict(path=path, format="unknown", findings=(), unchecked=(unchecked,))
