"""OCSF event of an incident, for SIEM and data lakes.

Incident → Incident Finding (class 2005) as plain values

Source: Open Cybersecurity Schema Framework 1.9, class Incident Finding, objects finding_info,
attack and observable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked
from mlsecops.incident.exports.facts import IncidentFacts

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["to_ocsf"]

_CLASS: Final = 2005  # OCSF 1.9, Incident Finding
_STATUS: Final = {"open": 1, "contained": 2, "failed": 2, "waiting": 3, "closed": 5}
_STATUS_NAMES: Final = {1: "New", 2: "In Progress", 3: "On Hold", 5: "Closed"}
_HASH, _USER = 8, 4  # OCSF 1.9, observable.type_id


@checked
def to_ocsf(incident: Incident) -> dict[str, Any]:
    """The incident as an OCSF 1.9 Incident Finding; `metadata.uid` is the same each time.

    Args:
        incident: The incident.

    Returns:
        JSON values.
    """
    facts = IncidentFacts.of(incident)
    status = _STATUS[facts.state]
    activity = 3 if facts.state == "closed" else 1 if facts.changed == facts.opened else 2
    finding: dict[str, Any] = {
        "uid": facts.id,
        "title": facts.title,
        "desc": facts.message,
        "created_time": _milliseconds(facts.opened),
    }
    if facts.technique:
        technique = {"uid": facts.technique, "name": facts.technique_name}
        finding["attacks"] = [{"version": "ATLAS 5.6", "technique": technique}]
    return {
        "activity_id": activity,
        "activity_name": {1: "Create", 2: "Update", 3: "Close"}[activity],
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": _CLASS,
        "class_name": "Incident Finding",
        "type_uid": _CLASS * 100 + activity,
        "time": _milliseconds(facts.changed),
        "start_time": _milliseconds(facts.opened),
        "severity_id": int(facts.severity) + 1,
        "severity": facts.severity.label.capitalize(),
        "status_id": status,
        "status": _STATUS_NAMES[status],
        "message": facts.message,
        "metadata": {
            "version": "1.9.0",
            "uid": facts.id,
            "product": {"name": "mlsecops", "vendor_name": "mlsecops-sdk"},
        },
        "finding_info_list": [finding],
        "observables": _observables(facts),
        "unmapped": {"steps": facts.steps, "versions": facts.versions},
    }


def _observables(facts: IncidentFacts) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if facts.digest:
        found.append({"name": "model.digest", "type_id": _HASH, "value": facts.digest})
    if facts.client:
        found.append({"name": "client", "type_id": _USER, "value": facts.client})
    return found


def _milliseconds(time: Any) -> int:
    return int(time.timestamp() * 1000)
