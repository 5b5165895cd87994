"""Findings on artifacts, alerts on live traffic, and their severity."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from mlsecops._repr import concise_repr

_ID_DIGITS: Final = 32  # hexadecimal digits of an alert's id; 128 bits, as a UUID has


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
    "state",
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
    """Alert of a rule on live traffic, when it begins to fire and when it is over.

    Attributes:
        rule: Id of the rule (`drift`, `extraction`, …).
        monitor: Name given to `@monitored`.
        client: Client concerned, or None for the whole model.
        digest: `"sha256:<hex>"` of the model, or None if none was given.
        reading: Value of the metric; of a resolved alert, the last one that broke the rule.
        threshold: Value that the rule compares it with.
        window: Period that the reading covers, for people (`"last 500 calls"`).
        severity: Severity of the rule.
        atlas: MITRE ATLAS technique id (`"AML.T0024"`), or None.
        message: One sentence for the person on call.
        at: Time of the state, timezone-aware UTC.
        state: `"firing"`, or `"resolved"` once the reading has kept to the threshold.
        id: What fires: the same text for the same rule, monitor, client and digest, in every
            process and replica; by default made of them.
        labels: Further labels, those of the rule.
        started_at: Time since when it fires; `at` by default.
        ends_at: Until when a firing alert holds unless it is renewed, or None if unknown.
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
    state: Literal["firing", "resolved"] = "firing"
    id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    started_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.id:
            made = alert_id(self.rule, self.monitor, self.client, self.digest)
            object.__setattr__(self, "id", made)
        if self.started_at is None:
            object.__setattr__(self, "started_at", self.at)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        times = {name: getattr(self, name) for name in ("at", "started_at", "ends_at")}
        return asdict(self) | {
            "severity": self.severity.label,
            "labels": dict(self.labels),
            **{name: None if time is None else time.isoformat() for name, time in times.items()},
        }


def alert_id(rule: str, monitor: str, client: str | None, digest: str | None) -> str:
    """The id of an alert; the length of each part keeps two lists of parts from giving one id."""
    parts = (rule, monitor, client, digest)
    known = (b"" if each is None else b"=" + each.encode(errors="surrogatepass") for each in parts)
    joined = b"".join(len(each).to_bytes(8, "big") + each for each in known)
    return hashlib.sha256(joined).hexdigest()[:_ID_DIGITS]


Sink: TypeAlias = Callable[[Alert], object]
