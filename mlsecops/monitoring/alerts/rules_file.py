"""Alert rules as data: TOML or plain values → `AlertRule`, and back.

Unknown, missing and invalid fields are errors: a rule that is ignored would never alert.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops._bounded.toml import parse_toml
from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.monitoring.alerts.rules import AlertRule

_FIELDS: Final = {each.name: each for each in dataclasses.fields(AlertRule)}
_REQUIRED: Final = {
    name
    for name, each in _FIELDS.items()
    if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
}
_NUMBERS: Final = {"threshold", "window", "cooldown", "pending"}


@checked
def load_rules(path: str | os.PathLike[str]) -> tuple[AlertRule, ...]:
    """Load the `[[rules]]` of a TOML file.

    Raises:
        UsageError: The file cannot be read, or a rule in it is invalid.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected rules in TOML: {error}") from error
    data = parse_toml(text, what=str(path), error=UsageError)
    rules = data.get("rules")
    if set(data) != {"rules"} or not isinstance(rules, list):
        raise UsageError(f"{path}: expected [[rules]] and nothing else, got {sorted(data)}")
    try:
        return tuple(rule_from_dict(each) for each in rules)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


@checked
def rule_from_dict(values: Mapping[str, Any]) -> AlertRule:
    """A rule from plain values of its fields; the severity is a word (`"high"`).

    Raises:
        UsageError: A field is unknown, missing or invalid.

    Examples:
        >>> from mlsecops.monitoring import DEFAULT_RULES
        >>> rule_from_dict(rule_to_dict(DEFAULT_RULES[0])) == DEFAULT_RULES[0]
        True
    """
    name = str(values.get("id", "?"))
    if unknown := set(values) - set(_FIELDS):
        raise UsageError(f"rule {name}: expected fields of a rule, got {sorted(unknown)}")
    if missing := _REQUIRED - set(values):
        raise UsageError(f"rule {name}: expected {', '.join(sorted(missing))}; add them")
    for field, value in values.items():
        kind, expected = _expected(field)
        if isinstance(value, bool) or not isinstance(value, expected):
            raise UsageError(f"rule {name}: {field}: expected {kind}, got {value!r}")
    return AlertRule(**{**values, "severity": _severity(name, values["severity"])})


@checked
def rule_to_dict(rule: AlertRule) -> dict[str, Any]:
    """Plain values of a rule, without those that are None, and without labels if it has none."""
    values = {**dataclasses.asdict(rule), "severity": rule.severity.label}
    return {field: value for field, value in values.items() if value not in (None, {})}


def _expected(field: str) -> tuple[str, Any]:
    if field == "labels":
        return "a table of texts", Mapping
    return ("a number", (int, float)) if field in _NUMBERS else ("text", str)


def _severity(rule: str, word: str) -> Severity:
    words = {each.label: each for each in Severity}
    if word in words:
        return words[word]
    raise UsageError(f"rule {rule}: severity: expected one of {', '.join(words)}, got {word!r}")
