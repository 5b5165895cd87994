"""Subject of an incident: alert, finding or report, and the incident that it belongs to.

alert, finding, report → plain values and id. The id depends on rule or kind, digest and client, so
that further alerts join an open incident; one after a closed incident opens its successor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from mlsecops._repr import concise_repr
from mlsecops.findings import Alert, Finding, Severity
from mlsecops.incident.guidance import Kind
from mlsecops.provenance import Digest

__all__ = ["IncidentReport", "describe", "identity", "occurrence", "plain"]


@concise_repr("kind", "digest", "client", "message")
@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentReport:
    """What a person or another system reports, without an alert.

    Attributes:
        kind: Kind of incident.
        digest: `"sha256:<hex>"` of the model or file, or the fingerprint of the leaked key.
        client: Client concerned, or None.
        message: What happened, in a sentence.
        severity: Severity.
    """

    kind: Kind
    digest: str | None
    client: str | None
    message: str
    severity: Severity = Severity.HIGH

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": self.kind,
            "kind": self.kind,
            "digest": self.digest,
            "client": self.client,
            "message": self.message,
            "severity": self.severity.label,
        }


Subject = Alert | Finding | IncidentReport


def describe(subject: Subject) -> dict[str, Any]:
    """The subject as JSON values."""
    described: dict[str, Any] = plain(subject.to_dict())
    if isinstance(subject, Finding):
        described["artifact"] = subject.artifact
    return described


def identity(subject: Subject, digest: str | None, number: int) -> str:
    """Id of the incident that a subject belongs to.

    Args:
        subject: The subject.
        digest: Digest of the affected model, or None: then the monitor or artifact is its place.
        number: How many incidents of the same three were closed before.
    """
    rule = subject.kind if isinstance(subject, IncidentReport) else subject.rule
    client = None if isinstance(subject, Finding) else subject.client
    place = digest
    if digest is None and not isinstance(subject, IncidentReport):
        place = subject.artifact if isinstance(subject, Finding) else subject.monitor
    parts = [rule, place, digest is None, client, *([number] if number else [])]
    return f"inc-{Digest.of(json.dumps(parts).encode()).hex[:20]}"


def occurrence(subject: Subject) -> str:
    """Mark of one alert of an incident: its time, or what was found or reported."""
    if isinstance(subject, Alert):
        return f"{subject.at.astimezone(UTC).isoformat()} {subject.state}"
    return f"{subject.where} {subject.message}" if isinstance(subject, Finding) else subject.message


def plain(value: object) -> Any:
    """Convert to JSON values; numbers that are not finite and unknown types become text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no text
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return plain(str(value))
