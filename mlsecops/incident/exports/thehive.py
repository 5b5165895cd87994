"""TheHive alert of an incident.

Incident → alert of TheHive 5 (`POST /api/v1/alert`) as plain values

`sourceRef` is the incident's id, which depends on rule, digest and client: TheHive refuses the same
alert twice and keeps those of two clients as two.

Source: TheHive 5 API documentation, "Create alert".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked
from mlsecops.findings import Severity
from mlsecops.incident.exports.facts import IncidentFacts

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["to_thehive"]

_AMBER: Final = 2  # TheHive 5: TLP and PAP from 0 (white) to 3 (red)
_SEVERITY: Final = {
    Severity.INFO: 1, Severity.LOW: 1, Severity.MEDIUM: 2, Severity.HIGH: 3, Severity.CRITICAL: 4,
}  # fmt: skip


@checked
def to_thehive(incident: Incident) -> dict[str, Any]:
    """The incident as an alert of TheHive 5.

    Args:
        incident: The incident.

    Returns:
        JSON values.
    """
    facts = IncidentFacts.of(incident)
    lines = [facts.message, "", *(f"- {s['name']}: {s['state']} {s['note']}" for s in facts.steps)]
    return {
        "type": "mlsecops",
        "source": "mlsecops",
        "sourceRef": facts.id,
        "title": facts.title,
        "description": "\n".join(lines),
        "severity": _SEVERITY[facts.severity],
        "date": int(facts.opened.timestamp() * 1000),
        "tlp": _AMBER,
        "pap": _AMBER,
        "tags": [f"atlas:{facts.technique}"] if facts.technique else [],
        "observables": _observables(facts),
    }


def _observables(facts: IncidentFacts) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if facts.digest:
        found.append({"dataType": "hash", "data": facts.digest.partition(":")[2]})
    if facts.client:
        found.append({"dataType": "other", "data": facts.client, "tags": ["client"]})
    return found
