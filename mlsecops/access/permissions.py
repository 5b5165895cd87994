"""File permission audit: modes and owners of an artifact's files.

file or folder → walk → Findings (world-writable, group-writable, foreign-owner, …)
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from mlsecops._choices import checked, path_of, whole
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity

__all__ = ["audit_permissions"]


@checked
def audit_permissions(path: str | os.PathLike[str], *, owner: int | None = None) -> list[Finding]:
    """Find files and folders that another user may change.

    Symbolic links are reported and not followed. Access control lists are not read.

    Args:
        path: A file or a folder.
        owner: Expected user id; by default that of this process. Root may own any file.

    Returns:
        Findings in order of path: rules `world-writable` (high), `group-writable`,
        `foreign-owner` (medium) and `symbolic-link` (low), or `unreadable` (high).

    Raises:
        UsageError: There is nothing at the path.

    Examples:
        >>> import os
        >>> _ = open("data.csv", "w").close(), os.chmod("data.csv", 0o666)
        >>> [finding.rule for finding in audit_permissions("data.csv")]
        ['world-writable']
    """
    top = path_of("path", path)
    if not os.path.lexists(top):
        raise UsageError(f"path: expected an existing file or folder, got {top}")
    if not hasattr(os, "getuid"):
        raise UsageError(
            "audit_permissions: expected owners and modes of files (Linux, macOS), got "
            f" {sys.platform}; look at the access control lists there"
        )
    expected = os.getuid() if owner is None else whole("owner", owner, "a user id", least=0)
    found: list[Finding] = []
    for place in _walk(top, found):
        found.extend(_judge(place, expected, top))
    return sorted(found, key=lambda finding: (finding.where, finding.rule))


def _walk(top: Path, found: list[Finding]) -> Iterator[Path]:
    def report(error: OSError) -> None:
        found.append(
            _finding(
                top,
                Path(error.filename),
                "unreadable",
                Severity.HIGH,
                f"cannot be listed ({error.strerror}), so its content was not checked",
            )
        )

    yield top
    inside = os.walk(top, onerror=report, followlinks=False) if top.is_dir() else ()
    for folder, folders, files in inside:
        for name in (*folders, *files):
            yield Path(folder, name)


def _judge(place: Path, owner: int, top: Path) -> Iterator[Finding]:
    try:
        status = place.lstat()
    except OSError as error:
        yield _finding(top, place, "unreadable", Severity.HIGH, f"cannot be read: {error.strerror}")
        return
    if status.st_uid not in {owner, 0}:
        yield _finding(
            top,
            place,
            "foreign-owner",
            Severity.MEDIUM,
            f"belongs to user {status.st_uid}, expected {owner}: its owner may change it at will",
        )
    if stat.S_ISLNK(status.st_mode):
        yield _finding(
            top, place, "symbolic-link", Severity.LOW, "is a symbolic link: its target may change"
        )
    elif status.st_mode & stat.S_IWOTH:
        yield _writable(top, place, "world", Severity.HIGH)
    elif status.st_mode & stat.S_IWGRP:
        yield _writable(top, place, "group", Severity.MEDIUM)


def _writable(top: Path, place: Path, whom: str, severity: Severity) -> Finding:
    letter = {"world": "o", "group": "g"}[whom]
    return _finding(
        top,
        place,
        f"{whom}-writable",
        severity,
        f"may be changed by {'everybody' if whom == 'world' else 'its group'}: "
        f"run chmod {letter}-w on it",
    )


def _finding(top: Path, place: Path, rule: str, severity: Severity, message: str) -> Finding:
    where = "." if place == top else str(place.relative_to(top))
    return Finding(
        rule=rule,
        severity=severity,
        message=f"{where} {message}",
        where=where,
        artifact=str(top),
    )
