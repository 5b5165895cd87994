"""Prometheus alerting rules from the alert rules of the monitors.

alert rules → PromQL expressions with labels and annotations → `alerts.yml`

`for` is the rule's pending time, `keep_firing_for` (Prometheus 2.42) its cooldown, so that an alert
neither begins nor ends sooner than the monitor's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.monitoring.alerts.rules import (
    DEFAULT_RULES,
    AlertRule,
    alert_name,
    checked_names,
)

_WINDOW: Final = re.compile(r"[1-9][0-9]*(?:ms|s|m|h|d)")
_BRACES: Final = '{{ "{{" }}'
"""Template action that prints braces, so that a message holds no action itself."""


@checked
def alert_rules(
    rules: Iterable[AlertRule] = DEFAULT_RULES,
    *,
    window: str | None = None,
    keep: Iterable[str] = (),
) -> str:
    """The text of a Prometheus rule file.

    Args:
        rules: Alert rules; by default those of every monitor.
        window: Time window of counters (`"15s"`); by default that of each rule.
        keep: Labels of the scrape that distinguish services with one monitor name, such as
            `namespace`; `AlertmanagerSink` needs them in its `labels`.

    Raises:
        UsageError: The window is not a duration, or a label is malformed.

    Source: Prometheus, Alerting rules. Strings are written as JSON, a subset of YAML 1.2.

    Examples:
        >>> alert_rules().splitlines()[1]
        '  - name: mlsecops'
    """
    if window is not None and _WINDOW.fullmatch(window) is None:
        raise UsageError(f"window: expected a duration such as 15s or 5m, got {window[:40]!r}")
    labels = checked_names("keep", keep)
    lines = ["groups:", "  - name: mlsecops", "    rules:"]
    for rule in rules:
        lines += _rule(rule, window, labels)
    return "\n".join(lines) + "\n"


def _rule(rule: AlertRule, window: str | None, keep: Sequence[str]) -> list[str]:
    labels = {**rule.labels, "severity": rule.severity.label, "rule": rule.id}
    if rule.atlas is not None:
        labels["atlas"] = rule.atlas
    annotations = {
        "summary": _plain(rule.message),
        "description": "Monitor {{ $labels.monitor }} reads {{ $value }}.",
    }
    return [
        f"      - alert: {_text(alert_name(rule.id))}",
        f"        expr: {_text(rule.expression(window, keep=keep))}",
        f"        for: {_duration(rule.pending)}",
        f"        keep_firing_for: {_duration(rule.cooldown)}",
        "        labels:",
        *(f"          {key}: {_text(_plain(value))}" for key, value in labels.items()),
        "        annotations:",
        *(f"          {key}: {_text(value)}" for key, value in annotations.items()),
    ]


def _plain(text: str) -> str:
    """A text that Prometheus does not read as a template."""
    return text.replace("{{", _BRACES)


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f}ms" if seconds % 1 else f"{seconds:.0f}s"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=True)
