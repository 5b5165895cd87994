"""Remediation of a leaked key: a new signature of what the key signed and what holds.

versions of the assessment → bytes as the log records them → new signature → registry

The leaked key's signature proves nothing any more. What vouches for the bytes is the registry's
log, which recorded their digest when they were published, before the leak.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlsecops._choices import checked, several
from mlsecops.errors import IncidentError, MLSecOpsError, UsageError
from mlsecops.provenance import SIGNATURE_NAME, Statement
from mlsecops.registry import Registry, Version
from mlsecops.signing import Signer, Verifier, sign

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["sign_again"]


@checked
def sign_again(
    signer: Signer | Sequence[Signer], *, before: datetime | None = None
) -> Callable[[Incident], object]:
    """A `remediate` for `Playbook.default("leaked-key", …)` that signs again what holds.

    Signed again are versions that the leaked key signed and other keys do not suffice for, that
    were published before the leak, and whose bytes are those of the log. A quarantined version is
    left out. Statements that the policy accepts but for the leaked key are kept.

    Args:
        signer: The new key, which the registry's policy trusts, or several for its threshold.
        before: Time of the leak, timezone-aware; by default when the incident was opened.

    Returns:
        The function; the registry's log says what was signed again (`signed-again`).

    Raises:
        UsageError: The time has no timezone.

    Examples:
        >>> from mlsecops.incident import Playbook
        >>> key = Signer.generate("ed25519")
        >>> playbook = Playbook.default("leaked-key", remediate=sign_again(key))
    """
    if before is not None and before.tzinfo is None:
        raise UsageError("before: expected a time with a timezone, such as datetime(…, tzinfo=UTC)")

    signers = (signer,) if isinstance(signer, Signer) else several("signer", signer, "keys", Signer)

    def remediate(incident: Incident) -> None:
        if incident.kind != "leaked-key" or incident.digest is None:
            raise IncidentError(f"incident {incident.id}: expected a leaked key with a fingerprint")
        leaked = incident.digest.hex
        if any(each.public_key.fingerprint == leaked for each in signers):
            raise UsageError("signer: expected a new key, got the leaked one")
        opened = datetime.fromisoformat(incident.events()[0]["at"])
        for version in _left(incident, before or opened):
            _sign(incident.registry, version, signers)

    return remediate


def _left(incident: Incident, before: datetime) -> Iterator[Version]:
    """Versions of the assessment that need a new signature and were published before the leak."""
    found = incident.step("assess").result or {}
    published = {
        f"{event.name} {event.version}": datetime.fromisoformat(event.at)
        for event in incident.registry.recorded("published")
    }
    for version in incident.registry.versions():
        name = f"{version.name} {version.version}"
        if name not in found.get("versions", ()) or version.state == "quarantined":
            continue
        if published[name] <= before and not _accepted(incident.registry, version):
            yield version


def _accepted(registry: Registry, version: Version) -> bool:
    try:
        registry.claim(version.name, version.version)
    except MLSecOpsError:
        return False
    return True


def _sign(registry: Registry, version: Version, signers: Sequence[Signer]) -> None:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as place:
        folder = registry.checkout(version.name, version.version, Path(place) / version.name)
        bundle = folder / SIGNATURE_NAME
        statements, name, number = _said(registry, bundle.read_bytes(), str(folder))
        sign(folder, signers, statements=statements, name=name, version=number, replace=True,
             algorithm=version.digest.algorithm)  # fmt: skip
        registry.replace_signature(version.name, version.version, folder)


def _said(
    registry: Registry, bundle: bytes, where: str
) -> tuple[tuple[Statement, ...], str | None, int | None]:
    """Statements, name and version of the old bundle, where the policy alone accepts it."""
    try:
        signed = Verifier(registry.policy).open(bundle, where=where)
    except MLSecOpsError:  # the policy revokes the key too: nothing that it said is taken over
        return (), None, None
    return signed.statements, signed.manifest.name, signed.version
