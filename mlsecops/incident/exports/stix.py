"""STIX bundle of an incident, to share with other organisations.

Incident → identity, incident, attack-pattern, indicator and their relationships

Names of clients and the alert's message, which may hold one, are left out: a bundle is meant to
leave the organisation.

Source: OASIS STIX 2.1, sections 3.2 (common properties), 4 (domain objects), 5 (relationships),
9 (patterns); identifiers are deterministic (section 2.9, UUIDv5).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import checked
from mlsecops.incident.exports.facts import IncidentFacts

if TYPE_CHECKING:
    from datetime import datetime

    from mlsecops.incident.incident import Incident

__all__ = ["to_stix"]

_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mlsecops-sdk:incident")
_CREATED: Final = "2026-01-01T00:00:00.000Z"
_HASHES: Final = {"sha256": "SHA-256", "sha512": "SHA-512"}  # STIX 2.1, hash-algorithm-ov


@checked
def to_stix(incident: Incident) -> dict[str, Any]:
    """The incident as a STIX 2.1 bundle.

    Args:
        incident: The incident.

    Returns:
        JSON values. A digest becomes an indicator; of a leaked key it is left out, because a
        fingerprint is no digest of a file.
    """
    facts = IncidentFacts.of(incident)
    opened, changed = _time(facts.opened), _time(facts.changed)
    identity = {
        **_common("identity", "mlsecops-sdk", _CREATED, _CREATED),
        "name": "mlsecops",
        "identity_class": "system",
    }
    by = {"created_by_ref": identity["id"]}
    about = {
        **_common("incident", facts.id, opened, changed),
        **by,
        "name": facts.title,
        "description": "Incident of a model in a registry; details are with its owner.",
        "external_references": [{"source_name": "mlsecops", "external_id": facts.id}],
        "labels": [facts.state, facts.severity.label],
    }
    objects = [identity, about]
    if facts.technique:
        pattern = _technique(facts, by)
        objects += [pattern, _relation(about, "related-to", pattern, opened, by)]
    indicator = None if incident.kind == "leaked-key" else _indicator(facts, by)
    if indicator is not None:
        objects += [indicator, _relation(indicator, "related-to", about, opened, by)]
    return {"type": "bundle", "id": _id("bundle", f"{facts.id}/{changed}"), "objects": objects}


def _technique(facts: IncidentFacts, by: dict[str, str]) -> dict[str, Any]:
    reference = {"source_name": "mitre-atlas", "external_id": facts.technique}
    return {
        **_common("attack-pattern", str(facts.technique), _CREATED, _CREATED),
        **by,
        "name": facts.technique_name or str(facts.technique),
        "external_references": [reference],
    }


def _indicator(facts: IncidentFacts, by: dict[str, str]) -> dict[str, Any] | None:
    algorithm, _, value = (facts.digest or "").partition(":")
    if algorithm not in _HASHES:
        return None
    opened = _time(facts.opened)
    return {
        **_common("indicator", str(facts.digest), opened, opened),
        **by,
        "name": f"Model or file {facts.digest}",
        "description": "A model or file that an incident isolated; do not load it.",
        "indicator_types": ["compromised"],
        "pattern": f"[file:hashes.'{_HASHES[algorithm]}' = '{value}']",
        "pattern_type": "stix",
        "valid_from": opened,
    }


def _relation(
    source: dict[str, Any], kind: str, target: dict[str, Any], at: str, by: dict[str, str]
) -> dict[str, Any]:
    return {
        **_common("relationship", f"{source['id']}/{kind}/{target['id']}", at, at),
        **by,
        "relationship_type": kind,
        "source_ref": source["id"],
        "target_ref": target["id"],
    }


def _common(kind: str, name: str, created: str, modified: str) -> dict[str, Any]:
    return {
        "type": kind,
        "spec_version": "2.1",
        "id": _id(kind, name),
        "created": created,
        "modified": modified,
    }


def _id(kind: str, name: str) -> str:
    return f"{kind}--{uuid.uuid5(_SPACE, f'{kind}/{name}')}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
