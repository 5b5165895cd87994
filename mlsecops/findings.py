"""What a check found: a Finding on an artifact, an Alert on live traffic, and how severe it is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from mlsecops._repr import concise_repr


class Severity(enum.IntEnum):
    """How much a finding or alert matters; ordered, so that thresholds compare."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """Lower-case name, as it stands in JSON and SARIF properties."""
        return self.name.lower()


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a check found in an artifact.

    Attributes:
        rule: Stable id of the rule, in kebab-case.
        severity: How much it matters; high and critical refuse.
        message: What was found and what to do, in one sentence or two.
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
    """A rule that fired on live traffic.

    Attributes:
        rule: Id of the rule (`drift`, `extraction`, …).
        monitor: Name given to `@monitored`.
        client: Client it concerns, or None for the model as a whole.
        digest: `"sha256:<hex>"` of the model, or None if none was given.
        reading: The value that was read.
        threshold: The value it was compared with.
        window: What the reading covers, for people (`"last 500 calls"`).
        severity: How much it matters.
        atlas: MITRE ATLAS technique id (`"AML.T0024"`), or None.
        message: One sentence for whoever is on call.
        at: When it fired, timezone-aware UTC.
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
        return {
            "rule": self.rule,
            "monitor": self.monitor,
            "client": self.client,
            "digest": self.digest,
            "reading": self.reading,
            "threshold": self.threshold,
            "window": self.window,
            "severity": self.severity.label,
            "atlas": self.atlas,
            "message": self.message,
            "at": self.at.isoformat(),
        }


Sink: TypeAlias = Callable[[Alert], object]
