"""How rules are written as data: TOML or plain values → `AlertRule`, and back.

Whatever is unknown, missing or out of its range is the writer's mistake and is said so, because a
rule that is silently ignored is an alert that never comes.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.monitoring.alerts.rules import AlertRule

__all__ = ["load_rules", "rule_from_dict", "rule_to_dict"]

_FIELDS: Final = {each.name: each for each in dataclasses.fields(AlertRule)}
_REQUIRED: Final = {name for name, each in _FIELDS.items() if each.default is dataclasses.MISSING}
_NUMBERS: Final = {"threshold", "window", "cooldown"}


def load_rules(path: str | os.PathLike[str]) -> tuple[AlertRule, ...]:
    """Read the `[[rules]]` of a TOML file.

    Args:
        path: The file.

    Raises:
        UsageError: It cannot be read, or a rule in it is wrong.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: expected rules in TOML: {error}") from error
    rules = data.get("rules")
    if set(data) != {"rules"} or not isinstance(rules, list):
        raise UsageError(f"{path}: expected [[rules]] and nothing else, got {sorted(data)}")
    try:
        return tuple(rule_from_dict(each) for each in rules)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def rule_from_dict(values: Mapping[str, Any]) -> AlertRule:
    """A rule from plain values; the severity is a word (`"high"`).

    Args:
        values: Field of `AlertRule` → value.

    Raises:
        UsageError: A field is unknown, missing or out of its range.
    """
    name = str(values.get("id", "?")) if isinstance(values, Mapping) else "?"
    if not isinstance(values, Mapping) or (wrong := set(values) ^ set(_FIELDS)) - set(_FIELDS):
        raise UsageError(f"rule {name}: unknown fields {sorted(wrong - set(_FIELDS))}")
    if missing := _REQUIRED - set(values):
        raise UsageError(f"rule {name}: expected {', '.join(sorted(missing))}")
    for field, value in values.items():
        expected = (int, float) if field in _NUMBERS else str
        if isinstance(value, bool) or not isinstance(value, expected):
            kind = "a number" if field in _NUMBERS else "text"
            raise UsageError(f"rule {name}: {field} is {value!r}, expected {kind}")
    return AlertRule(**{**values, "severity": _severity(name, values["severity"])})


def rule_to_dict(rule: AlertRule) -> dict[str, Any]:
    """Plain values of a rule, without those that are None."""
    values = {**dataclasses.asdict(rule), "severity": rule.severity.label}
    return {field: value for field, value in values.items() if value is not None}


def _severity(rule: str, word: str) -> Severity:
    for each in Severity:
        if each.label == word:
            return each
    words = ", ".join(each.label for each in Severity)
    raise UsageError(f"rule {rule}: severity is {word!r}, expected one of {words}")
