"""Files that `.dvcignore` hides, which DVC neither stores nor restores.

repository → IgnoreRules of all its `.dvcignore` files → whether a path is hidden
rules → statement that is signed with the outputs → the same rules at verification, or refused

Source: DVC 3, ".dvcignore Files"; git, gitignore(5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import DigestMismatch
from mlsecops.provenance import Manifest, Statement

RULES_FILE: Final = ".dvcignore"
PREDICATE: Final = "https://github.com/mlsecops-sdk/mlsecops/dvc-ignore/v1"
_MAX_BYTES: Final = 1 << 20  # bytes of a .dvcignore; chosen: some 30,000 patterns
_DEFAULT: Final = (".hg/", ".git/", ".git", ".dvc/")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One pattern: the folder of its file, and whether it hides, or hides folders only."""

    folder: str
    pattern: re.Pattern[str]
    hides: bool
    folders_only: bool

    def matches(self, path: str, *, is_folder: bool) -> bool:
        if self.folders_only and not is_folder:
            return False
        prefix = f"{self.folder}/" if self.folder else ""
        if not path.startswith(prefix):
            return False
        inner = path[len(prefix) :]
        names = (inner, f"{inner}/") if is_folder else (inner,)
        return any(self.pattern.match(name) for name in names)


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """Rules of a repository.

    Attributes:
        digests: Path of each `.dvcignore` that has rules → SHA-256 of its content.
    """

    digests: Mapping[str, str]
    _rules: tuple[_Rule, ...]

    def hidden(self, path: str, *, is_folder: bool) -> bool:
        """Whether a path relative to the repository is hidden; the last match decides."""
        for rule in reversed(self._rules):
            if rule.matches(path, is_folder=is_folder):
                return rule.hides
        return False

    def statement(self, manifest: Manifest) -> Statement:
        """The statement that is signed with the outputs."""
        return Statement.build(
            subjects={manifest.name: manifest.root},
            predicate_type=PREDICATE,
            predicate={"files": dict(self.digests)},
        )


def default_rules() -> IgnoreRules:
    """What DVC hides without any `.dvcignore`."""
    return IgnoreRules({}, tuple(_compiled("", line) for line in _DEFAULT))


def read_rules(root: Path) -> IgnoreRules:
    """Rules of every `.dvcignore` of a repository, outer ones first."""
    rules, digests = [*default_rules()._rules], {}  # noqa: SLF001 - of this module
    waiting = [""]
    for folder in waiting:
        place = root / folder / RULES_FILE
        if place.is_file() and not place.is_symlink():
            data = place.read_bytes()[:_MAX_BYTES]
            lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
            added = [_compiled(folder, line) for line in lines if line and not line.startswith("#")]
            if added:
                rules += added
                digests[f"{folder}/{RULES_FILE}".lstrip("/")] = hashlib.sha256(data).hexdigest()
        current = IgnoreRules({}, tuple(rules))
        waiting += [
            name
            for each in sorted((root / folder).iterdir())
            if each.is_dir()
            and not each.is_symlink()
            and not current.hidden(name := f"{folder}/{each.name}".lstrip("/"), is_folder=True)
        ]
    return IgnoreRules(digests, tuple(rules))


def signed_rules(root: Path, statements: tuple[Statement, ...]) -> IgnoreRules:
    """The rules that were signed; nothing is hidden by others.

    Raises:
        DigestMismatch: A `.dvcignore` was added, removed or changed since.
    """
    found = next((each for each in statements if each.predicate_type == PREDICATE), None)
    if found is None:
        return default_rules()
    value: Any = found.predicate.get("files")
    recorded: Mapping[str, str] = value if isinstance(value, dict) else {}
    rules = read_rules(root)
    added = sorted(rules.digests.keys() - recorded.keys())
    removed = sorted(recorded.keys() - rules.digests.keys())
    changed = sorted(
        name for name, hexed in rules.digests.items() if recorded.get(name, hexed) != hexed
    )
    if added or removed or changed:
        names = ", ".join([*added, *removed, *changed])
        raise DigestMismatch(
            f"{root}: expected the {RULES_FILE} files that were signed, got others: {names}; "
            "restore them, or sign the outputs again",
            added=added,
            removed=removed,
            changed=changed,
        )
    return rules


def _compiled(folder: str, line: str) -> _Rule:
    try:
        kind = require("pathspec.patterns.gitignore.spec").GitIgnoreSpecPattern
    except ModuleNotFoundError:  # pathspec before 1.0
        kind = require("pathspec.patterns").GitWildMatchPattern
    regex, hides = kind.pattern_to_regex(line)
    never = regex is None or hides is None
    pattern = re.compile("(?!)" if never else regex)
    return _Rule(folder, pattern, bool(hides), line.endswith("/"))
