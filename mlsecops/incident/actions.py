"""Idempotent actions of the playbook's steps.

incident → action on registry and evidence, unless it is done already → state of the step
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from mlsecops.errors import IncidentError, MLSecOpsError, RegistryError
from mlsecops.incident import assessment
from mlsecops.incident.incident import Incident
from mlsecops.incident.steps import Step
from mlsecops.registry import Version

__all__ = ["ACTIONS", "Remediation", "Validation", "affected", "by_user", "validate_serving"]

_NOBODY: Final = "no model of the registry served this digest"
_NOTE: Final = 500  # characters of a result in a note; chosen: notes are shown on one screen

Remediation = Callable[[Incident], object]
Validation = Callable[[Incident, Version | None], object]


def isolate(incident: Incident, instructions: str) -> Step:
    """Quarantine the digest, or the fingerprint of the key; done once the registry's log has it."""
    if incident.digest is None:
        return Step(name="isolate", state="manual", note=instructions)
    subject = incident.subject
    incident.registry.quarantine(incident.digest, f"incident {incident.id}: {subject['message']}")
    if incident.kind == "leaked-key":
        note = f"signatures of key {incident.digest.short} count no more; put it into `revoked` too"
    else:
        note = f"{incident.digest} is quarantined"
    return Step(name="isolate", state="done", note=note)


def assess(incident: Incident, _instructions: str) -> Step:
    """Find what the incident touches; done once it is recorded."""
    known = incident.step("assess")
    if known.state == "done":
        return known
    found = assessment.assess(incident)
    note = assessment.summary(incident.kind, found)
    return Step(name="assess", state="done", note=note, result=found)


def rollback(incident: Incident, instructions: str) -> Step:
    """Roll back to an older version; done once nothing that is touched serves.

    After a leaked key, a model without a version that another key signed waits for a new signature.
    """
    waiting: list[str] = []
    notes: list[str] = []
    for version in affected(incident):
        try:
            restored = incident.registry.rollback(version.name)
        except RegistryError as error:
            if incident.kind != "leaked-key":
                return Step(name="rollback", state="manual", note=f"{error}. {instructions}")
            waiting.append(f"{version.name} waits for a new signature of version {version.version}")
        else:
            notes.append(f"{restored.name} serves version {restored.version}")
    known = incident.step("rollback")
    if not notes and known.state == "done":
        return known
    # The note comes from the log, so that a run killed after the rollback gives the same one.
    serving = _now_serving(incident)
    return Step(name="rollback", state="done", note="; ".join([*serving, *waiting] or [_NOBODY]))


def forensics(incident: Incident, _instructions: str) -> Step:
    """Seal the evidence; done once the registry's log has its digest and it verifies."""
    incident.copy_custody()
    digest = incident.evidence.sealed or incident.evidence.seal(_documents(incident))
    incident.evidence.verify()
    return Step(name="forensics", state="done", note=f"evidence.tar is sealed with {digest}")


def by_user(
    incident: Incident, name: str, instructions: str, action: Callable[[], object] | None = None
) -> Step:
    """Run a step with the user's function; without one it is left to people.

    Args:
        incident: The incident.
        name: Name of the step.
        instructions: What people have to do.
        action: The function; raising, False (also as numpy or torch compare), text or a `verdict`
            other than `"pass"` is a failure.
    """
    known = incident.step(name)
    if known.state == "done":
        return known
    if action is None:
        return Step(name=name, state="manual", note=instructions)
    try:
        outcome = action()
        verdict = getattr(outcome, "verdict", outcome)
        is_false = _is_boolean(verdict) and not verdict
    except Exception as error:  # noqa: BLE001 - the user's code may fail in any way; it is recorded
        return Step(name=name, state="failed", note=f"{type(error).__name__}: {error}"[:_NOTE])
    gated = verdict is not outcome or isinstance(outcome, str)
    if is_false or (gated and verdict != "pass"):
        return Step(name=name, state="failed", note=f"the verdict is {verdict}"[:_NOTE])
    return Step(name=name, state="done", note="" if outcome is None else str(outcome)[:_NOTE])


def _is_boolean(value: object) -> bool:
    """Whether a value is a truth value of Python, or what a comparison of numpy or torch gives."""
    kind = str(getattr(value, "dtype", ""))
    return isinstance(value, bool) or kind.rpartition(".")[2] == "bool"


def close(incident: Incident, instructions: str) -> Step:
    """Close once all other steps are done and the evidence verifies."""
    unfinished = [
        step.name for step in incident.steps if step.name != "close" and step.state != "done"
    ]
    if unfinished:
        note = f"waits for {', '.join(unfinished)}. {instructions}"
        return Step(name="close", state="pending", note=note)
    incident.copy_custody()
    incident.evidence.verify()
    return Step(name="close", state="done", note="closed")


def affected(incident: Incident) -> list[Version]:
    """Serving versions that must not serve: with the digest, or refused since the key leaked."""
    registry = incident.registry
    serving = [each for each in assessment.touched(incident) if registry.serves(each)]
    if incident.kind != "leaked-key":
        return serving
    return [each for each in serving if _refused(incident, each)]


ACTIONS: Final[dict[str, Callable[[Incident, str], Step]]] = {
    action.__name__: action for action in (isolate, assess, rollback, forensics, close)
}


def validate_serving(incident: Incident, action: Validation) -> object:
    """Call the user's validation with the version that serves in place of the incident's."""
    return action(incident, _serving(incident))


def _refused(incident: Incident, version: Version) -> bool:
    try:
        incident.registry.claim(version.name, version.version)
    except MLSecOpsError:
        return True
    return False


def _now_serving(incident: Incident) -> list[str]:
    """What the touched models serve, but for what is refused since a key leaked."""
    named = {version.name for version in assessment.touched(incident)}
    refused = {(version.name, version.version) for version in affected(incident)}
    return [
        f"{version.name} serves version {version.version}"
        for version in incident.registry.versions()
        if version.name in named
        and incident.registry.serves(version)
        and (version.name, version.version) not in refused
    ]


def _serving(incident: Incident) -> Version | None:
    found = None
    for name in sorted({version.name for version in assessment.touched(incident)}):
        if not any(map(incident.registry.serves, incident.registry.versions(name))):
            continue
        try:
            serving = incident.registry.resolve(name, "serving")
        except MLSecOpsError as error:
            raise IncidentError(f"{name}: no version can be validated: {error}") from error
        found = found or serving
    return found


def _documents(incident: Incident) -> dict[str, bytes]:
    """Documents of the evidence: everything known that may change later."""
    registry = incident.registry
    documents = {
        "incident.json": _json({"id": incident.id, "digest": str(incident.digest)}),
        "subject.json": _json(incident.subject),
        "checkpoint.txt": str(registry.verify_log()).encode(),
        "custody.json": _json(list(incident.events())),
    }
    if incident.snapshot is not None:
        documents["monitor.json"] = _json(incident.snapshot)
    for version in assessment.touched(incident):
        events = [event.to_dict() for event in registry.history(version.name)]
        documents[f"history-{version.name}.json"] = _json(events)
        documents.update(_statements(incident, version))
    return documents


def _statements(incident: Incident, version: Version) -> dict[str, bytes]:
    where = f"{version.name}-{version.version}"
    try:
        verified = incident.registry.claim(version.name, version.version)
    except MLSecOpsError as error:
        return {f"verification-{where}.txt": str(error).encode()}
    return {
        f"statement-{where}-{number}.json": statement.payload
        for number, statement in enumerate(verified.statements)
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()
