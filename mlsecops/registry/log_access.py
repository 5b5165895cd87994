"""Log of a registry: its place, signers and verification.

location, keys, pin, witnesses → `EventLog`; `verify_log` → checkpoint to pin; `rotate_key`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsecops._choices import checked, of_type
from mlsecops.audit import AccessControl, Checkpoint, LogKey
from mlsecops.audit.checkpoint import vkey
from mlsecops.audit.objects import FolderStore, ObjectStore, open_store
from mlsecops.audit.pin import Pin
from mlsecops.audit.tlog import TileLog
from mlsecops.audit.tlog.operator_keys import log_vkey
from mlsecops.errors import RegistryError, UsageError
from mlsecops.registry.event_log import HEAD, PREFIX, EventLog
from mlsecops.registry.state import State
from mlsecops.signing import Signer, TrustPolicy

if TYPE_CHECKING:
    import os

__all__ = ["RegistryLog", "operators"]


class RegistryLog:
    """Part of `Registry` about its log.

    Attributes:
        location: The folder, or the URL of a bucket.
        log_keys: Public keys of the log's operators, besides the signer's.
    """

    signer: Signer | None
    policy: TrustPolicy
    location: Path | str
    log_keys: tuple[LogKey, ...]
    _access: AccessControl | None
    _objects: ObjectStore
    _events: EventLog

    @checked
    def verify_log(self, pinned: Checkpoint | str | None = None) -> Checkpoint:
        """Verify every event and tile of the log, against a pinned checkpoint too.

        Args:
            pinned: A checkpoint of an earlier call, kept outside the registry.

        Returns:
            The current checkpoint, to be pinned.

        Raises:
            VerificationError: The log was changed, shortened or rewritten.
            RegistryError: The log cannot be read.

        Warns:
            MLSecOpsWarning: An event says an earlier time than one before it.
        """
        return self._events.verify(pinned)

    def rotate_key(self, signer: Signer) -> None:
        """Let another key sign the log from now on; the old one signs nothing more.

        The checkpoint of this event bears both signatures. History stays readable to everyone who
        trusts the new key, whether the old one is revoked or not. Give the new key to readers and
        witnesses first. It is done also where the signer's key is revoked.

        Args:
            signer: The new key.

        Raises:
            UsageError: There is no signer, or it is the same key.
            AccessDenied: The subject may not do it.
            RegistryError: Another key took over already.
        """
        old, new = self._require_signer(), of_type("signer", signer, Signer, "a Signer")
        before, after = old.public_key.fingerprint, new.public_key.fingerprint
        if before == after:
            raise UsageError("rotate_key: expected another key than the signer's, got the same")
        origin = self._events.checkpoint().origin
        if self._access is not None:
            self._access.demand("registry:rotate-key", origin, attributes={"key": after})

        def decide(state: State) -> dict[str, Any] | None:
            event = state.retired.get(before)
            taken = None if event is None else str(event.detail["key"])
            if taken is not None and taken != after:
                raise RegistryError(f"key {before[:16]} was rotated out for key {taken[:16]}")
            named = log_vkey(new, origin)
            rotated = {"type": "key-rotated", "retired": before, "key": after}
            return None if taken else {**rotated, **({} if named is None else {"vkey": named})}

        self._events.sign_with(new)
        try:
            self._events.record(decide, more=[old])
        except BaseException:
            self._events.sign_with(old)
            raise
        self.signer = new
        self.log_keys = (*self.log_keys, new.public_key)

    def log_vkeys(self) -> tuple[str, ...]:
        """Verifier keys with which other C2SP clients verify the log, the newest first.

        Raises:
            RegistryError: The log cannot be read.
            VerificationError: It was changed.
        """
        state, checkpoint = self._events.state(), self._events.checkpoint()
        named = [event.detail.get("vkey") for event in state.history if "vkey" in event.detail]
        plain = [vkey(checkpoint.origin, key) for key in self._log.trust.keys]
        return tuple(dict.fromkeys(str(each) for each in (*reversed(named), *plain) if each))

    def _open_log(
        self,
        location: str | os.PathLike[str],
        *,
        log_keys: Iterable[LogKey] | None,
        pinned: Checkpoint | str | os.PathLike[str] | None,
        origin: str | None,
        witnesses: Iterable[tuple[str, str]],
        quorum: int,
        storage_options: Mapping[str, Any] | None,
        clock: Callable[[], datetime],
    ) -> None:
        pin = None if pinned is None else Pin(pinned)
        self._objects = open_store(location, options=storage_options)
        self.location = (
            self._objects.root if isinstance(self._objects, FolderStore) else str(location)
        )
        self.log_keys = operators(self.policy) if log_keys is None else tuple(log_keys)
        self._log = TileLog(
            self._objects,
            prefix=PREFIX,
            head=HEAD,
            signer=self.signer,
            keys=self.log_keys,
            origin=origin,
            revoked=[
                trusted.key
                for trusted in self.policy.keys
                if self.policy.key_revoked(trusted.key.fingerprint)
            ],
            pin=pin,
            witnesses=witnesses,
            quorum=quorum,
        )
        self._events = EventLog(self._log, self._objects, signer=self.signer, clock=clock)
        self._events.begin()

    def _require_signer(self) -> Signer:
        if self.signer is None:
            raise UsageError(
                f"registry {self.location} was opened without a signer, read-only; pass signer="
            )
        return self.signer


def operators(policy: TrustPolicy) -> tuple[LogKey, ...]:
    """Keys that may sign the log by default: trusted for every model, and not revoked."""
    return tuple(
        trusted.key
        for trusted in policy.keys
        if not trusted.scope.models and not policy.key_revoked(trusted.key.fingerprint)
    )
