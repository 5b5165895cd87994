"""Facts of an incident that every export needs: title, severity, techniques, times.

Incident → its JSON values → IncidentFacts
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlsecops._repr import concise_repr
from mlsecops.findings import Severity
from mlsecops.incident.guidance import NAMES, TECHNIQUES

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["IncidentFacts"]


@concise_repr("id", "title")
@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    """What exports say about an incident.

    Attributes:
        id: Its id.
        title: Kind and digest, in a line.
        message: What happened.
        state: Its state.
        severity: Its severity.
        technique: MITRE ATLAS technique, or None.
        technique_name: Its name, or "".
        digest: Digest of the model, file or key, or None.
        client: Client, or None.
        opened: Time of the opening.
        changed: Time of the last event.
        steps: Steps as JSON values.
        versions: Versions that the assessment named, as "NAME N".
    """

    id: str
    title: str
    message: str
    state: str
    severity: Severity
    technique: str | None
    technique_name: str
    digest: str | None
    client: str | None
    opened: datetime
    changed: datetime
    steps: list[dict[str, Any]]
    versions: list[str]

    @classmethod
    def of(cls, incident: Incident) -> IncidentFacts:
        """The facts of an incident."""
        events, known = incident.events(), incident.to_dict()
        subject, kind = known["subject"], known["kind"]
        technique = subject.get("atlas") or (TECHNIQUES[kind][0] if kind else None)
        about = known["digest"] or "no digest"
        assessed = next((s["result"] for s in known["steps"] if s["name"] == "assess"), None)
        return cls(
            id=incident.id,
            title=f"{kind or subject['rule']}: {about[:23]}",
            message=str(subject["message"]),
            state=known["state"],
            severity=_severity(subject.get("severity")),
            technique=technique,
            technique_name=NAMES.get(".".join(technique.split(".")[:2]), "") if technique else "",
            digest=known["digest"],
            client=subject.get("client"),
            opened=_time(events[0]["at"]),
            changed=max(_time(event["at"]) for event in events),
            steps=known["steps"],
            versions=list((assessed or {}).get("versions", ())),
        )


def _severity(label: object) -> Severity:
    return (
        Severity[str(label).upper()]
        if str(label).upper() in Severity.__members__
        else Severity.HIGH
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
