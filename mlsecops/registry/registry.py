"""Model registry: published, promoted, resolved, quarantined and rolled back versions.

call → newest State of the log → decision → event appended to the log → Version
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlsecops._choices import checked, of_type
from mlsecops._repr import concise_repr
from mlsecops.audit import AccessControl, Checkpoint, LogKey
from mlsecops.errors import (
    Isolated,
    MLSecOpsError,
    MLSecOpsWarning,
    RegistryError,
    UsageError,
    VerificationError,
)
from mlsecops.provenance import Digest
from mlsecops.registry.cache import cache_folder
from mlsecops.registry.event_log import require_order
from mlsecops.registry.events import Event, Record, Version, require_name
from mlsecops.registry.log_access import RegistryLog
from mlsecops.registry.records import RegistryRecords, revoking
from mlsecops.registry.state import State
from mlsecops.registry.store import Store
from mlsecops.signing import Signer, TrustPolicy, Verified

if TYPE_CHECKING:
    import os

__all__ = ["Registry"]

Stage = Literal["approved", "serving"]


@concise_repr("location", "policy", "signer.public_key.fingerprint")
class Registry(RegistryRecords, RegistryLog):
    """Signed models with their versions, in a folder or a bucket, for many processes and machines.

    Every decision is an event of a signed log, and only the log defines the state of a version.
    The registry is tamper-evident, not tamper-proof: whoever can write its location can restore an
    older copy, unless `pinned` names a checkpoint kept elsewhere, or `quorum` witnesses must have
    cosigned. A damaged log stops the registry: what cannot be verified is refused.

    It is also an `Isolation`: loaders and running servers ask `isolated`.

    Args:
        location: A folder, or `s3://bucket/prefix`, `gs://`, `az://`, `file://` or `memory://`;
            a registry is created where it is absent or empty and a signer is given. A folder is
            private to its owner, unless its group may enter it and it has the set-group-id bit
            (mode 2770): then what is written is the group's too.
        signer: Signs the log; without it nothing is written to the location.
        policy: Trust policy for models.
        log_keys: Public keys of the log's operators, besides the signer's. By default the policy's
            keys that are trusted for every model and not revoked.
        pinned: A checkpoint from `verify_log` that the log must extend: a `Checkpoint`, its text,
            or the path of a file outside the registry, which every call moves forward. An absent
            file is made by the first call.
        origin: Name of the log that is expected, or that a new registry's log gets.
        witnesses: URL and verifier key of each witness of the log (C2SP tlog-witness).
        quorum: Number of witnesses that must have cosigned the log.
        storage_options: obstore's options for a bucket; AWS_* variables and the like otherwise.
        cache: Folder for resolved versions, the reader's own and outside the location; by default
            `$XDG_CACHE_HOME/mlsecops/registry`, or that in `~/.cache`.
        clock: Returns the time of an event, timezone-aware.
        access: Decides about `model:publish`, `promote`, `resolve`, `quarantine`, `rollback` and
            `raise-floor` of a model by its name, and `registry:rotate-key` (an `AccessGuard`).

    Raises:
        AccessDenied: From a call, if the subject may not do it.
        RegistryError: There is no registry, its log is missing, or it cannot be reached.
        UsageError: The pinned file cannot be read, or an argument is wrong.
        MissingExtra: A bucket needs the extra `store`.
        RollbackRefused: A pinned log is missing.
    """

    @checked
    def __init__(
        self,
        location: str | os.PathLike[str],
        *,
        signer: Signer | None = None,
        policy: TrustPolicy,
        log_keys: Iterable[LogKey] | None = None,
        pinned: Checkpoint | str | os.PathLike[str] | None = None,
        origin: str | None = None,
        witnesses: Iterable[tuple[str, str]] = (),
        quorum: int = 0,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        access: AccessControl | None = None,
    ) -> None:
        self._access = access if access is None else of_type("access", access, "demand", "a guard")
        self.signer = signer
        self.policy = policy
        self._open_log(
            location,
            log_keys=log_keys,
            pinned=pinned,
            origin=origin,
            witnesses=witnesses,
            quorum=quorum,
            storage_options=storage_options,
            clock=clock,
        )
        self._store = Store(self._objects, cache=cache_folder(cache), policy=self._current_policy)

    @checked
    def publish(self, name: str, folder: str | os.PathLike[str]) -> Version:
        """Store a signed folder as the model's next version.

        The bytes that are verified are the bytes that are stored. Publishing a digest that the
        model already has returns the version that has it.

        Args:
            name: A lower-case DNS label (`"fraud-model"`). Where the policy restricts keys or
                floors by model name, the folder must be signed under this name.
            folder: The model, with its bundle `model.sig` inside.

        Raises:
            UsageError: The name or the folder is invalid, or there is no signer.
            VerificationError: The folder does not verify under the policy, or its digest is
                quarantined.
            UnsafeContent: It holds links or devices.
        """
        self._demand("publish", require_name(name))
        self._require_signer()
        self._events.state()  # a key that was quarantined meanwhile signs nothing more
        verified, kept = self._store.take_in(Path(folder), name)
        listing = Digest.parse(kept["listing"])

        def decide(state: State) -> tuple[Record, dict[str, Any] | None]:
            records = state.records.get(name, [])
            for record in records:
                if record.digest == verified.digest:
                    return record, None
            reason = state.quarantined.get(str(verified.digest))
            if reason is not None:
                raise Isolated(f"{folder}: {verified.digest.short} is quarantined: {reason}")
            record = Record(
                name=name, version=len(records) + 1, digest=verified.digest, listing=listing
            )
            detail = {**kept, "signed_name": verified.name}
            return record, {**record.event("published"), **detail}

        return self._commit(decide)

    @checked
    def promote(self, name: str, version: int, stage: Stage) -> Version:
        """Verify a version, then approve it or let it serve (which approves it too).

        Args:
            name: The model's name.
            version: Its number.
            stage: `"approved"` or `"serving"`.

        Raises:
            RegistryError: There is no such version.
            Isolated: Its digest is quarantined.
            RollbackRefused: It is below the model's floor.
            VerificationError: It does not verify now.
        """
        self._demand("promote", require_name(name), version=version, stage=stage)
        self.verify(name, version)

        def decide(state: State) -> tuple[Record, dict[str, Any] | None]:
            record = state.record(name, version)
            state.require_usable(record)
            serves = state.serving.get(name) == version
            approved = (name, version) in state.approved
            if approved and (serves or stage == "approved"):
                return record, None
            return record, record.event(stage)

        return self._commit(decide)

    @checked
    def resolve(self, name: str, version: Literal["serving"] | int) -> Version:
        """A version with a read-only folder whose bytes verify now.

        Args:
            name: The model's name.
            version: Its number, or `"serving"`.

        Returns:
            The version; its `path` is in the cache. Load it with
            `SecureLoader.load(path, digest=version.digest)`, which verifies the bytes it reads,
            and that they are this version.

        Raises:
            RegistryError: There is no such version, or none serves.
            Isolated: Its digest is quarantined.
            RollbackRefused: It is below the model's floor.
            VerificationError: It does not verify now.
        """
        state = self._events.state()
        record = self._find(state, require_name(name), version)
        self._demand("resolve", name, version=record.version, digest=str(record.digest))
        state.require_usable(record)
        path, _ = self._store.open(record)
        return state.view(record, path=path)

    @checked
    def quarantine(self, name_or_digest: str | Digest, reason: str) -> Digest:
        """Refuse a digest to every user of the registry, from their next call on.

        If the registry holds the model, the digests of its files under other algorithms are refused
        too, so that signing the files again does not bring them back.

        Args:
            name_or_digest: A digest, known to the registry or not; or a model's name for the
                version that serves, or the newest when none does.
            reason: Reason in a sentence, shown to those who are refused.

        Returns:
            The quarantined digest; if it was quarantined before, it keeps its first reason.

        Raises:
            UsageError: Neither a digest nor a name, no reason, or no signer.
            RegistryError: There is no such model.
        """
        if not reason:
            raise UsageError("quarantine: expected a reason, got none")
        text = str(name_or_digest)
        known = Digest.parse(text) if ":" in text else None
        for each in self._about(known or require_name(text)):
            self._demand("quarantine", each)
        target: list[Digest] = []

        def decide(state: State) -> dict[str, Any] | None:
            digest = known or state.named(require_name(text)).digest
            target[:] = [digest]
            done = str(digest) in state.quarantined
            return (
                None if done else {"type": "quarantined", "digest": str(digest), "reason": reason}
            )

        record = self._events.record(decide).holding(target[0])
        if record is not None:
            self._quarantine_twins(record, reason)
        return target[0]

    def _quarantine_twins(self, record: Record, reason: str) -> None:
        """Quarantine the digests of the same files under other algorithms."""
        digest = record.digest
        try:
            roots = self._store.roots(record)
        except (RegistryError, VerificationError, OSError) as error:
            rest = f"but not its files' digests under other algorithms: {error}; revoke the key"
            warnings.warn(f"{digest.short} is quarantined, {rest}", MLSecOpsWarning, stacklevel=3)
            return
        twins = [str(root) for root in roots if root != digest]
        wider = {"type": "quarantine-extended", "digest": str(digest), "reason": reason}
        self._events.record(
            lambda state: (
                None if state.quarantined.keys() >= set(twins) else {**wider, "also": twins}
            )
        )

    @checked
    def rollback(self, name: str, *, serving: int | None = None) -> Version:
        """Let the newest older version serve that may be used and verifies now.

        Skipped are versions that are quarantined, revoked, below the floor, or do not verify. An
        older version need not be approved, and a rollback does not approve it. Calls at once go
        back by one version together, and so does one that follows a call that was killed before
        its event was published. With `serving`, any number of calls do.

        Args:
            name: The model's name.
            serving: Version that must not serve any longer; where another one serves, that one is
                returned and nothing changes. By default the version that serves now.

        Raises:
            RegistryError: Nothing serves, or no older version may.
        """
        self._demand("rollback", require_name(name))
        if serving is None:
            serving = self._find(self._events.state(), name, "serving").version

        def decide(state: State) -> tuple[Record, dict[str, Any] | None]:
            current = self._find(state, name, "serving")
            if current.version != serving:
                return current, None
            record = self._store.newest_below(current, state)
            return record, {**record.event("rolled-back"), "previous": current.version}

        return self._commit(decide)

    @checked
    def raise_floor(self, name: str, version: int) -> None:
        """Refuse every version below this one from now on; a floor is never lowered.

        Args:
            name: The model's name.
            version: Lowest version that may be used.

        Raises:
            RegistryError: There is no such version.
        """
        self._demand("raise-floor", require_name(name), version=version)

        def decide(state: State) -> tuple[Record, dict[str, Any] | None]:
            record = state.record(name, version)
            done = state.floors.get(name, 1) >= version
            return record, None if done else record.event("floor-raised")

        self._commit(decide)

    def floor(self, name: str) -> int:
        """Lowest version of a model that may be used, 1 where no floor was raised."""
        return self._events.state().floors.get(require_name(name), 1)

    @checked
    def history(self, name: str) -> tuple[Event, ...]:
        """Events of a model or of the digests of its versions, oldest first; warns as `verify_log`.

        Raises:
            RegistryError: There is no such model.
        """
        state = self._events.state()
        state.named(require_name(name))
        digests = {str(record.digest) for record in state.records[name]}
        require_order(state.history)
        return tuple(
            event
            for event in state.history
            if event.name == name or (event.name is None and event.digest in digests)
        )

    def versions(self, name: str | None = None) -> tuple[Version, ...]:
        """All versions of a model, or of all models, with their current states."""
        state = self._events.state()
        names = sorted(state.records) if name is None else [require_name(name)]
        return tuple(state.view(record) for each in names for record in state.records.get(each, ()))

    def serves(self, version: Version) -> bool:
        """Whether a version is the one that its model serves, quarantined or not."""
        return self._events.state().serving.get(version.name) == version.version

    def verify(self, name: str, version: int) -> Verified:
        """Verify a version's bytes now.

        Raises:
            RegistryError: There is no such version.
            VerificationError: It does not verify now.
        """
        return self._store.open(self._events.state().record(require_name(name), version))[1]

    def isolated(self, digest: Digest) -> str | None:
        """Reason why a digest must not be used, or None; sees other processes' quarantines.

        A log that cannot be read or verified is a reason too.

        Args:
            digest: Root digest of a model, or any other digest.
        """
        try:
            return self._events.state().quarantined.get(str(digest))
        except (MLSecOpsError, OSError) as error:
            return f"the registry cannot be trusted now: {error}"

    def _current_policy(self) -> TrustPolicy:
        return revoking(self.policy, self._events.known())

    def _commit(self, decide: Callable[[State], tuple[Record, dict[str, Any] | None]]) -> Version:
        """Record a decision about one version."""
        chosen: list[Record] = []

        def event(state: State) -> dict[str, Any] | None:
            record, decided = decide(state)
            chosen[:] = [record]
            return decided

        state = self._events.record(event)
        return state.view(chosen[0])

    def _find(self, state: State, name: str, version: Literal["serving"] | int) -> Record:
        if version != "serving":
            return state.record(name, version)
        if name not in state.serving:
            raise RegistryError(f"no version of {name!r} serves; promote one to 'serving' first")
        return state.record(name, state.serving[name])
