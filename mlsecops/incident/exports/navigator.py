"""ATLAS Navigator layer of incidents: techniques, coloured by their frequency.

Incidents → layer as plain values

Source: MITRE ATT&CK Navigator, layer format 4.5, which the ATLAS Navigator reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked
from mlsecops.incident.exports.facts import IncidentFacts

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["to_navigator"]

_COLORS: Final = ["#ffffff", "#d62728"]


@checked
def to_navigator(incidents: Iterable[Incident]) -> dict[str, Any]:
    """A layer of the ATLAS Navigator with the techniques of incidents.

    Args:
        incidents: The incidents.

    Returns:
        JSON values; the score of a technique is the number of its incidents.
    """
    found: dict[str, list[IncidentFacts]] = {}
    for facts in map(IncidentFacts.of, incidents):
        if facts.technique:
            found.setdefault(facts.technique, []).append(facts)
    techniques = [
        {
            "techniqueID": technique,
            "score": len(seen),
            "enabled": True,
            "comment": "; ".join(f"{each.id} {each.state}" for each in seen),
        }
        for technique, seen in sorted(found.items())
    ]
    most = max((len(seen) for seen in found.values()), default=1)
    return {
        "name": "mlsecops incidents",
        "versions": {"layer": "4.5", "navigator": "4.8.2"},
        "domain": "atlas-atlas",
        "description": "Techniques of MITRE ATLAS in incidents of this registry",
        "techniques": techniques,
        "gradient": {"colors": _COLORS, "minValue": 0, "maxValue": most},
    }
