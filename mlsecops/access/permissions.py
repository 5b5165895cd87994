"""Who else may write an artifact: a walk over file modes and owners."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity

__all__ = ["audit_permissions"]


def audit_permissions(path: str | os.PathLike[str], *, owner: int | None = None) -> list[Finding]:
    """Find files and folders that somebody else may change.

    Symbolic links are reported and not followed; folders are not left for another file system's
    rules (access control lists are not read).

    Args:
        path: A file or a folder.
        owner: User id that should own everything; by default that of this process. Root's files
            are nobody's foreign files.

    Returns:
        Findings in order of path: rules `world-writable` (high), `group-writable`,
        `foreign-owner` (medium) and `symbolic-link` (low), or `unreadable` (high).

    Raises:
        UsageError: There is nothing at the path.
    """
    top = Path(path)
    if not os.path.lexists(top):
        raise UsageError(f"{top}: there is nothing to audit; give an existing file or folder")
    expected = os.getuid() if owner is None else owner
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
                f"cannot be listed ({error.strerror}), so what is inside was not checked",
            )
        )

    yield top
    for folder, folders, files in os.walk(top, onerror=report, followlinks=False):
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
            top, place, "symbolic-link", Severity.LOW, "is a symbolic link: what it names may move"
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
        f"take the right away with chmod {letter}-w",
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
