"""Findings on artifacts, alerts on live traffic, and their severity."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias

from mlsecops._repr import concise_repr


class Severity(enum.IntEnum):
    """Severity of a finding or alert; ordered for comparison with thresholds."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """Lower-case name, as in JSON and SARIF properties."""
        return self.name.lower()


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of a check on an artifact.

    Attributes:
        rule: Stable id of the rule, in kebab-case.
        severity: Severity; high and critical findings refuse the artifact.
        message: What was found and what to do, in one or two sentences.
        where: Place inside the artifact (entry, offset, row), or "".
        artifact: Path or name of the artifact.
    """

    rule: str
    severity: Severity
    message: str
    where: str
    artifact: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": self.rule,
            "severity": self.severity.label,
            "message": self.message,
            "where": self.where,
        }


@concise_repr(
    "rule",
    "monitor",
    "client",
    "digest",
    "reading",
    "threshold",
    "window",
    "severity",
    "at",
    "message",
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Alert of a rule on live traffic.

    Attributes:
        rule: Id of the rule (`drift`, `extraction`, …).
        monitor: Name given to `@monitored`.
        client: Client concerned, or None for the whole model.
        digest: `"sha256:<hex>"` of the model, or None if none was given.
        reading: Value of the metric.
        threshold: Value that the rule compares it with.
        window: Period that the reading covers, for people (`"last 500 calls"`).
        severity: Severity of the rule.
        atlas: MITRE ATLAS technique id (`"AML.T0024"`), or None.
        message: One sentence for the person on call.
        at: Time of the alert, timezone-aware UTC.
    """

    rule: str
    monitor: str
    client: str | None
    digest: str | None
    reading: float
    threshold: float
    window: str
    severity: Severity
    atlas: str | None
    message: str
    at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"severity": self.severity.label, "at": self.at.isoformat()}


Sink: TypeAlias = Callable[[Alert], object]
