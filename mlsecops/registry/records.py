"""Records of a registry besides its versions: incidents' events, documents and revoked keys.

event → log, once; document → blob, by its digest; quarantined key → policy that revokes it
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import of_type
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.provenance import Digest

if TYPE_CHECKING:
    import os

    from mlsecops.audit import AccessControl
    from mlsecops.registry.event_log import EventLog
    from mlsecops.registry.events import Event, Version
    from mlsecops.registry.state import State
    from mlsecops.registry.store import Store
    from mlsecops.signing import SignedModel, TrustPolicy

__all__ = ["RegistryRecords", "revoking"]

_INCIDENT: Final = "incident."


class RegistryRecords:
    """Part of `Registry` for those that build on it: incidents, isolation and lineage."""

    _events: EventLog
    _store: Store
    _access: AccessControl | None

    def _demand(self, action: str, name: str, **attributes: object) -> None:
        """Demand that the current subject may do this with a model."""
        if self._access is not None:
            self._access.demand(f"model:{action}", name, attributes=attributes)

    def _about(self, target: str | Digest) -> list[str]:
        """Names of the models that a quarantine touches, or the digest where it touches none."""
        if self._access is None:
            return []
        state = self._events.state()
        digest = target if isinstance(target, Digest) else state.named(target).digest
        return [
            name
            for name, known in state.records.items()
            if digest in {each.digest for each in known}
        ] or [str(target)]

    def record_once(
        self, kind: str, detail: Mapping[str, Any], *, unique: Collection[str] = ()
    ) -> bool:
        """Add an event that changes no state, unless the log has it already.

        Args:
            kind: `incident.…`.
            detail: JSON values.
            unique: Keys of `detail` whose values only one event of an incident may have, such as
                a number; by default the whole event is compared.

        Returns:
            Whether the log has the event; False where another one took its place.

        Raises:
            UsageError: The kind is another one, or there is no signer.
        """
        if not kind.startswith(_INCIDENT):
            raise UsageError(f"record: expected a kind that begins with 'incident.', got {kind!r}")
        event = {"type": kind, **detail}
        kept = True

        def decide(state: State) -> dict[str, Any] | None:
            nonlocal kept
            known = _taken(state, event, unique)
            kept = known is None or known.says(event)
            return event if known is None else None

        self._events.record(decide)
        return kept

    def recorded(self, kind: str) -> tuple[Event, ...]:
        """Events of one kind, or of all that begin with a text that ends in a dot, oldest first."""
        whole = not kind.endswith(".")
        return tuple(
            event
            for event in self._events.state().history
            if (event.kind == kind if whole else event.kind.startswith(kind))
        )

    def keep(self, data: bytes) -> Digest:
        """Store a document, such as the evidence of an incident.

        Returns:
            Its digest, by which `kept` finds it.

        Raises:
            RegistryError: It cannot be written.
        """
        return self._store.keep(of_type("data", data, bytes, "bytes"))

    def kept(self, digest: Digest) -> bytes:
        """A document's bytes, checked against its digest.

        Raises:
            RegistryError: It is missing, or cannot be read.
            DigestMismatch: It was changed.
        """
        return self._store.kept(of_type("digest", digest, Digest, "a Digest"))

    def files(self, name: str, version: int) -> Mapping[str, Digest]:
        """SHA-256 of each file of a version, as the log records them; no file is read.

        Raises:
            RegistryError: There is no such version, or its listing cannot be read.
        """
        return self._store.files(self._events.state().record(name, version))

    def damaged(self, name: str, version: int) -> tuple[str, ...]:
        """Names of a version's files whose bytes are missing or not those that the log records.

        Raises:
            RegistryError: There is no such version, or its listing cannot be read.
        """
        return self._store.damaged(self._events.state().record(name, version))

    def checkout(self, name: str, version: int, target: str | os.PathLike[str]) -> Path:
        """Write a version's files to a new folder, as the log records them.

        The bytes are compared with the digests of the log, and no signature is verified: this is
        for investigating a version, and for signing it again after its key leaked.

        Args:
            name: The model's name.
            version: Its number.
            target: The folder; it does not exist.

        Raises:
            RegistryError: There is no such version, or a blob is missing.
            DigestMismatch: A blob was changed.
        """
        self._demand("resolve", name, version=version)
        return self._store.checkout(self._events.state().record(name, version), Path(target))

    def isolations(self) -> Mapping[str, str]:
        """Every quarantined digest with its reason, in one reading of the log.

        Raises:
            RegistryError: The log cannot be read.
            VerificationError: It was changed, or is not the pinned one.
        """
        return self._events.state().quarantined

    def claim(self, name: str, version: int) -> SignedModel:
        """What trusted signers say about a version; only its signature is read, none of its files.

        Raises:
            RegistryError: There is no such version, or its signature cannot be read.
            VerificationError: The signature is not accepted now.
        """
        return self._store.claim(self._events.state().record(name, version))

    def replace_signature(self, name: str, version: int, folder: str | os.PathLike[str]) -> Version:
        """Take a new signature of a version's unchanged files, as after a key leaked.

        Args:
            name: The model's name.
            version: Its number.
            folder: The same files, with the new bundle.

        Raises:
            RegistryError: There is no such version.
            DigestMismatch: The folder holds other files.
            VerificationError: The new signature is not accepted.
        """
        self._demand("publish", name, version=version)
        known = self._events.state().record(name, version)
        verified, detail = self._store.take_in(Path(folder), name)
        if verified.digest != known.digest:
            raise DigestMismatch(
                f"{folder}: expected the files of {name} version {version} "
                f"({known.digest.short}), got {verified.digest.short}; publish them as a version"
            )

        def decide(state: State) -> dict[str, Any] | None:
            record = state.record(name, version)
            same = str(record.listing) == detail["listing"]
            return None if same else {**record.event("signed-again"), **detail}

        self._events.record(decide)
        state = self._events.state()
        return state.view(state.record(name, version))


def _taken(state: State, event: Mapping[str, Any], unique: Collection[str]) -> Event | None:
    """The event that says the same, or that has the same values under the unique keys."""
    for known in state.history:
        if not known.kind.startswith(_INCIDENT):
            continue
        if unique and all(known.detail.get(key) == event[key] for key in unique):
            return known
        if known.kind == event["type"] and known.says(event):
            return known
    return None


def revoking(policy: TrustPolicy, state: State) -> TrustPolicy:
    """The policy, which also revokes its keys whose fingerprints are quarantined.

    Certificates are revoked by the policy's own `revoked`.
    """
    keys = {trusted.key.fingerprint for trusted in policy.keys}
    quarantined = {text.partition(":")[2] for text in state.quarantined}
    leaked = keys & quarantined
    if leaked <= policy.revoked:
        return policy
    revised = copy(policy)
    revised.revoked = policy.revoked | leaked  # type: ignore[misc] # a copy that nobody has seen
    return revised
