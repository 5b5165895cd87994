"""Idempotent actions of the playbook's steps.

incident → action on registry and evidence, unless it is done already → state of the step
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from mlsecops.errors import IncidentError, MLSecOpsError, RegistryError
from mlsecops.incident.incident import Incident, Step
from mlsecops.provenance import Statement
from mlsecops.registry import Version

__all__ = ["ACTIONS", "Remediation", "Validation", "affected", "by_user", "validate_serving"]

_NOTE: Final = 500  # characters of a result in a note; chosen: notes are shown on one screen

Remediation = Callable[[Incident], object]
Validation = Callable[[Incident, Version | None], object]


def isolate(incident: Incident, instructions: str) -> Step:
    """Quarantine the digest; done once the registry's log has it."""
    if incident.digest is None:
        return Step(name="isolate", state="manual", note=instructions)
    subject = incident.subject
    incident.registry.quarantine(incident.digest, f"incident {incident.id}: {subject['message']}")
    return Step(name="isolate", state="done", note=f"{incident.digest} is quarantined")


def evidence(incident: Incident, _instructions: str) -> Step:
    """Seal the evidence; done once the registry's log has its digest and it verifies."""
    digest = incident.evidence.sealed or incident.evidence.seal(_documents(incident))
    incident.evidence.verify()
    return Step(name="evidence", state="done", note=f"evidence.tar is sealed with {digest}")


def assess(incident: Incident, _instructions: str) -> Step:
    """Find versions that share the digest or its data; done once they are recorded."""
    known = incident.step("assess")
    if known.state == "done":
        return known
    result = _blast_radius(incident)
    note = (
        f"{len(result['versions'])} versions have this digest, "
        f"{len(result['related'])} more share its data"
    )
    return Step(name="assess", state="done", note=note, result=result)


def rollback(incident: Incident, instructions: str) -> Step:
    """Roll back to an older version; done once no version with the digest serves."""
    notes: list[str] = []
    for version in affected(incident):
        try:
            restored = incident.registry.rollback(version.name)
        except RegistryError as error:
            return Step(name="rollback", state="manual", note=f"{error}. {instructions}")
        notes.append(f"{restored.name} serves version {restored.version}")
    known = incident.step("rollback")
    if not notes and known.state == "done":
        return known
    # The note comes from the log, so that a run killed after the rollback gives the same one.
    return Step(name="rollback", state="done", note=_now_serving(incident))


def by_user(
    incident: Incident, name: str, instructions: str, action: Callable[[], object] | None = None
) -> Step:
    """Run a step with the user's function; without one it is left to people.

    Args:
        incident: The incident.
        name: Name of the step.
        instructions: What people have to do.
        action: The function; raising, False, text or a `verdict` other than `"pass"` is a failure.
    """
    known = incident.step(name)
    if known.state == "done":
        return known
    if action is None:
        return Step(name=name, state="manual", note=instructions)
    try:
        outcome = action()
    except Exception as error:  # noqa: BLE001 - the user's code may fail in any way; it is recorded
        return Step(name=name, state="failed", note=f"{type(error).__name__}: {error}")
    verdict = getattr(outcome, "verdict", outcome)
    gated = verdict is not outcome or isinstance(outcome, str)
    if verdict is False or (gated and verdict != "pass"):
        return Step(name=name, state="failed", note=f"the verdict is {verdict}")
    return Step(name=name, state="done", note="" if outcome is None else str(outcome)[:_NOTE])


def close(incident: Incident, instructions: str) -> Step:
    """Close once all other steps are done and the evidence verifies."""
    unfinished = [
        step.name for step in incident.steps if step.name != "close" and step.state != "done"
    ]
    if unfinished:
        note = f"waits for {', '.join(unfinished)}. {instructions}"
        return Step(name="close", state="pending", note=note)
    incident.evidence.verify()
    return Step(name="close", state="done", note="closed")


def affected(incident: Incident) -> list[Version]:
    """Serving versions with the incident's digest."""
    return [each for each in _same_digest(incident) if incident.registry.serves(each)]


ACTIONS: Final[dict[str, Callable[[Incident, str], Step]]] = {
    action.__name__: action for action in (isolate, evidence, assess, rollback, close)
}


def _now_serving(incident: Incident) -> str:
    named = sorted({version.name for version in _same_digest(incident)})
    lines = [
        f"{version.name} serves version {version.version}"
        for version in incident.registry.versions()
        if version.name in named and incident.registry.serves(version)
    ]
    return "; ".join(lines) or "no model of the registry served this digest"


def validate_serving(incident: Incident, action: Validation) -> object:
    """Call the user's validation with the version that serves in place of the incident's."""
    return action(incident, _serving(incident))


def _serving(incident: Incident) -> Version | None:
    for name in sorted({version.name for version in _same_digest(incident)}):
        try:
            return incident.registry.resolve(name, "serving")
        except MLSecOpsError as error:
            raise IncidentError(f"{name}: no version can be validated: {error}") from error
    return None


def _same_digest(incident: Incident) -> list[Version]:
    return [each for each in incident.registry.versions() if each.digest == incident.digest]


def _blast_radius(incident: Incident) -> dict[str, Any]:
    own = _same_digest(incident)
    used: dict[tuple[str, int], dict[str, str]] = {}
    unverified: list[str] = []
    for version in incident.registry.versions():
        try:
            verified = incident.registry.verify(version.name, version.version)
        except MLSecOpsError:
            unverified.append(f"{version.name} {version.version}")
            continue
        used[version.name, version.version] = _datasets(verified.statements)
    data: dict[str, str] = {}
    for version in own:
        data.update(used.get((version.name, version.version), {}))
    suspect = {*data, str(incident.digest)}
    return {
        "versions": [f"{version.name} {version.version}" for version in own],
        "datasets": data,
        "related": [
            f"{name} {number}"
            for (name, number), digests in sorted(used.items())
            if not suspect.isdisjoint(digests)
            and (name, number) not in {(version.name, version.version) for version in own}
        ],
        "unverified": unverified,
    }


def _datasets(statements: tuple[Statement, ...]) -> dict[str, str]:
    """Digest → name of each data set in signed provenance."""
    return {
        f"{algorithm}:{value}": str(item.get("name", ""))
        for statement in statements
        for item in _dependencies(statement)
        for algorithm, value in item.get("digest", {}).items()
    }


def _dependencies(statement: Statement) -> Iterator[dict[str, Any]]:
    definition = statement.predicate.get("buildDefinition", {})
    items = definition.get("resolvedDependencies", []) if isinstance(definition, dict) else []
    for item in items if isinstance(items, list) else []:
        notes = item.get("annotations") if isinstance(item, dict) else None
        if isinstance(notes, dict) and notes.get("kind") == "dataset":
            yield item


def _documents(incident: Incident) -> dict[str, bytes]:
    """Documents of the evidence: everything known that may change later."""
    registry = incident.registry
    documents = {
        "incident.json": _json({"id": incident.id, "digest": str(incident.digest)}),
        "subject.json": _json(incident.subject),
        "checkpoint.txt": str(registry.verify_log()).encode(),
    }
    if incident.snapshot is not None:
        documents["monitor.json"] = _json(incident.snapshot)
    for version in _same_digest(incident):
        events = [event.to_dict() for event in registry.history(version.name)]
        documents[f"history-{version.name}.json"] = _json(events)
        documents.update(_statements(incident, version))
    return documents


def _statements(incident: Incident, version: Version) -> dict[str, bytes]:
    where = f"{version.name}-{version.version}"
    try:
        verified = incident.registry.verify(version.name, version.version)
    except MLSecOpsError as error:
        return {f"verification-{where}.txt": str(error).encode()}
    return {
        f"statement-{where}-{number}.json": statement.payload
        for number, statement in enumerate(verified.statements)
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()
