"""Blast radius of an incident: versions, data sets, places and signers that it touches.

digest or fingerprint → the registry's versions, by what their signatures say → JSON values

Only signatures and listings are read, none of the files, except where bytes may have been tampered
with: those places are hashed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlsecops.errors import MLSecOpsError
from mlsecops.provenance import Digest, Statement
from mlsecops.registry import Version
from mlsecops.signing import SignedModel

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["assess", "summary", "touched"]


def assess(incident: Incident) -> dict[str, Any]:
    """What an incident touches.

    Returns:
        `versions` as "NAME N": those with the digest, that contain the file, or that the leaked
        key signed; `datasets` (digest → name) that they came from; `related` versions that came
        from the same data or from the digest; `serving` of all these; `unverified` versions whose
        signature is not accepted now. With a leaked key also `covered`, which other keys suffice
        for, and `log_key`, whether it may sign the registry's log. With tampered bytes also
        `places` ("NAME N: FILE" → `intact`, `damaged` or why it is unknown).
    """
    own = touched(incident)
    numbers = {(version.name, version.version) for version in own}
    claims, unverified = _claims(incident)
    data: dict[str, str] = {}
    for key in numbers:
        if key in claims:
            data.update(datasets(claims[key].statements))
    suspect = {*data, str(incident.digest)}
    related = [
        key
        for key, claim in sorted(claims.items())
        if key not in numbers and not suspect.isdisjoint(datasets(claim.statements))
    ]
    listed = {(v.name, v.version): v for v in incident.registry.versions()}
    reached = [listed[key] for key in (*sorted(numbers), *related)]
    return {
        "versions": names(own),
        "datasets": data,
        "related": [f"{name} {number}" for name, number in related],
        "serving": names([each for each in reached if incident.registry.serves(each)]),
        "unverified": unverified,
        **_by_kind(incident, own, claims),
    }


def touched(incident: Incident) -> list[Version]:
    """Versions with the incident's digest, that contain the file, or that the leaked key signed."""
    if incident.digest is None:
        return []
    versions = incident.registry.versions()
    if incident.kind == "leaked-key":
        signed = _signed_by(incident, incident.digest.hex)
        return [each for each in versions if (each.name, each.version) in signed]
    own = [each for each in versions if each.digest == incident.digest]
    if own or incident.kind != "tampered-artifact":
        return own
    return [each for each in versions if incident.digest in _files(incident, each).values()]


def datasets(statements: Sequence[Statement]) -> dict[str, str]:
    """Digest → name of each data set in signed provenance."""
    return {
        f"{algorithm}:{value}": str(item.get("name", ""))
        for statement in statements
        for item in _dependencies(statement)
        for algorithm, value in item.get("digest", {}).items()
    }


def names(versions: Sequence[Version]) -> list[str]:
    """Versions as "NAME N"."""
    return [f"{version.name} {version.version}" for version in versions]


def summary(kind: str | None, found: dict[str, Any]) -> str:
    """What an assessment found, in a sentence."""
    count = len(found["versions"])
    if kind == "leaked-key":
        log = "; it may sign the registry's log too: rotate-key" if found["log_key"] else ""
        return f"the key signed {count} versions, other keys cover {len(found['covered'])}{log}"
    places = f", {len(found['places'])} places hold its files" if "places" in found else ""
    return f"{count} versions have this digest, {len(found['related'])} more share its data{places}"


def _by_kind(
    incident: Incident, own: Sequence[Version], claims: dict[tuple[str, int], SignedModel]
) -> dict[str, Any]:
    if incident.kind == "leaked-key" and incident.digest is not None:
        key = incident.digest.hex
        others = [
            each
            for each in own
            if (claim := claims.get((each.name, each.version))) and {*claim.signers} - {key}
        ]
        signer = incident.registry.signer
        operators = [*incident.registry.log_keys, *([signer.public_key] if signer else [])]
        log = any(getattr(each, "fingerprint", None) == key for each in operators)
        return {"covered": names(others), "log_key": log}
    if incident.kind == "tampered-artifact":
        return {"places": _places(incident, own)}
    return {}


def _places(incident: Incident, own: Sequence[Version]) -> dict[str, str]:
    """Every file of the registry with bytes of the artifact, and what it holds now."""
    wanted = {incident.digest}
    for version in own:
        if version.digest == incident.digest:  # else the digest is a file's own
            wanted.update(_files(incident, version).values())
    found: dict[str, str] = {}
    for version in incident.registry.versions():
        held = {name for name, digest in _files(incident, version).items() if digest in wanted}
        state = _bytes_now(incident, version) if held else ""
        found.update({f"{version.name} {version.version}: {name}": state for name in sorted(held)})
    return found


def _bytes_now(incident: Incident, version: Version) -> str:
    try:
        damaged = incident.registry.damaged(version.name, version.version)
    except MLSecOpsError as error:
        return f"unknown: {error}"
    return f"damaged: {', '.join(damaged)}" if damaged else "intact"


def _claims(incident: Incident) -> tuple[dict[tuple[str, int], SignedModel], list[str]]:
    claims: dict[tuple[str, int], SignedModel] = {}
    unverified: list[str] = []
    for version in incident.registry.versions():
        try:
            key = (version.name, version.version)
            claims[key] = incident.registry.claim(*key)
        except MLSecOpsError:
            unverified.append(f"{version.name} {version.version}")
    return claims, unverified


def _signed_by(incident: Incident, fingerprint: str) -> set[tuple[str, int]]:
    """Versions that a key signed, by the log, whether its signature is accepted or replaced."""
    registry = incident.registry
    events = (*registry.recorded("published"), *registry.recorded("signed-again"))
    return {
        (str(event.name), int(event.version or 0))
        for event in events
        if fingerprint in event.detail.get("signers", ())
    }


def _files(incident: Incident, version: Version) -> dict[str, Digest]:
    try:
        return dict(incident.registry.files(version.name, version.version))
    except MLSecOpsError:
        return {}


def _dependencies(statement: Statement) -> Iterator[dict[str, Any]]:
    definition = statement.predicate.get("buildDefinition", {})
    items = definition.get("resolvedDependencies", []) if isinstance(definition, dict) else []
    for item in items if isinstance(items, list) else []:
        notes = item.get("annotations") if isinstance(item, dict) else None
        if isinstance(notes, dict) and notes.get("kind") == "dataset":
            yield item
