"""Event log of a registry: newest state, and events decided on it.

log → verified events → State; decision on the newest State → event, or a new decision
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import random
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mlsecops._files import private_folder
from mlsecops._json import parse_object
from mlsecops.audit.checkpoint import Checkpoint, fingerprint_of, signing_keys
from mlsecops.audit.objects import FolderStore, ObjectStore
from mlsecops.audit.tlog import TileLog
from mlsecops.audit.tlog.head import MOST_HEAD_BYTES
from mlsecops.audit.tlog.operator_keys import log_vkey
from mlsecops.audit.tlog.tiles import TILE_WIDTH
from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    MLSecOpsWarning,
    RegistryError,
    Revoked,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance import Digest
from mlsecops.provenance.merkle import Peaks, leaf_hash
from mlsecops.registry.blobs import Blobs
from mlsecops.registry.events import Event
from mlsecops.registry.state import SUMMARY_FORM, State
from mlsecops.registry.storage_errors import storage_errors

if TYPE_CHECKING:
    from mlsecops.signing import Signer

__all__ = ["HEAD", "OLD_LOG", "PREFIX", "EventLog", "require_order"]

PREFIX: Final = "log/"
HEAD: Final = "head"
OLD_LOG: Final = "log.sqlite"
_EVERY: Final = 4_096  # events; chosen: read and verified in about 0.1 s
_WINDOW: Final = _EVERY + 1_024  # events; chosen: writers that were killed left the summary out
_SKEW: Final = timedelta(minutes=1)  # chosen: clocks kept by NTP differ by less than a second
_PATIENCE: Final = 120.0  # seconds of contention; chosen: hundreds of appends to a bucket
_LOOK: Final = 1_000  # keys; chosen: one page of a bucket's listing
_PAUSE: Final = 0.01  # seconds before the first repetition; chosen: an append to a folder


class EventLog:
    """The events of a registry, and the state after them.

    Args:
        log: The log, at `PREFIX` of the store.
        store: The registry's store.
        signer: The operator's key, or None for a reader.
        clock: Returns the time of an event, timezone-aware.
    """

    def __init__(
        self,
        log: TileLog,
        store: ObjectStore,
        *,
        signer: Signer | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._signer = signer
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._blobs = Blobs(store)
        self._seen = State()
        self._peaks = Peaks.EMPTY

    def begin(self) -> None:
        """Create the log of a new registry; a location with content and no log is not new.

        Raises:
            RegistryError: There is no registry, its log is missing, or it is of an older kind.
            UsageError: The folder cannot be made.
        """
        with storage_errors(self._store.where):
            if self._log.exists():
                return
            self._require_new()
            if isinstance(self._store, FolderStore):
                _make(self._store)
            origin = self._log.settle()
            if self._log.exists():  # a process that was killed had begun it
                return
            vkey = None if self._signer is None else log_vkey(self._signer, origin)
            created = {"type": "created"} if vkey is None else {"type": "created", "vkey": vkey}
            if self._log.append([self._stamped(created)], size=0) is None:
                self._log.settle()  # another process was faster
            self._require_conditions()

    def state(self) -> State:
        """The state after every event of the log.

        Raises:
            RegistryError: The log cannot be read, or its events contradict each other.
            VerificationError: It was changed, or is not the pinned one.
        """
        with self._lock, storage_errors(self._store.where):
            return self._read()

    def checkpoint(self) -> Checkpoint:
        """The published checkpoint, accepted; its entries are not read.

        Raises:
            RegistryError: The log cannot be read.
            VerificationError: It is not accepted.
        """
        with storage_errors(self._store.where):
            return self._log.newest()

    def known(self) -> State:
        """The state that this process saw last, or now if it saw none."""
        return self._seen if self._seen.size else self.state()

    def append(
        self, state: State, *events: Mapping[str, Any], more: Sequence[Signer] = ()
    ) -> State | None:
        """Add events that were decided on a state; None if others came first.

        Args:
            state: The state.
            events: The events, which appear together.
            more: Further keys that sign the checkpoint.

        Returns:
            The state after them.

        Raises:
            UsageError: There is no signer, or an event is too long or no JSON.
            RegistryError: The log cannot be written.
            VerificationError: It was tampered with, or too few witnesses answered.
        """
        self._require_operator(state)
        bodies = [self._stamped(event) for event in events]
        with self._turn, storage_errors(self._store.where):
            checkpoint = self._log.append(bodies, size=state.size, more=more)
        if checkpoint is None:
            return None
        with self._lock:
            grown = self._peaks.extend(map(leaf_hash, bodies))
            known = grown.root == checkpoint.root and self._log.trust.pin is None
            if known:  # else somebody appended meanwhile, or the pin is to be moved
                self._seen, self._peaks = self._seen.after(map(_parsed, bodies)), grown
                return self._seen
        return self.state()

    def record(
        self,
        decide: Callable[[State], Mapping[str, Any] | None],
        *,
        more: Sequence[Signer] = (),
    ) -> State:
        """Record the decision on the newest state; decide again if another event came first.

        A process that appended last decides on what it knows, which saves a reading: a decision
        that records nothing, and a refusal, are made on the newest state.

        Args:
            decide: Returns an event, or None where there is nothing to record; it may raise.
            more: Further keys that sign the checkpoint.

        Returns:
            The state after the event.

        Raises:
            RegistryError: Others were faster for two minutes.
        """
        newest = self._log.written != self._seen.size or self._log.trust.pin is not None
        state = self.state() if newest else self._seen
        limit = time.monotonic() + _PATIENCE
        pause = _PAUSE
        while time.monotonic() < limit:
            try:
                event = decide(state)
            except MLSecOpsError:
                if newest:
                    raise
                event = None
            if event is None and newest:
                return state
            if event is not None:
                done = self.append(state, event, more=more)
                if done is not None:
                    return self._summarised(done)
                time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
                pause = min(2 * pause, 1.0)
            state, newest = self.state(), True
        raise RegistryError(
            f"registry {self._store.where}: other writers were faster for {_PATIENCE:.0f} seconds; "
            "try again"
        )

    def verify(self, pinned: Checkpoint | str | None) -> Checkpoint:
        """Verify every event and tile, and warn where times go back."""
        given = Checkpoint.parse(pinned) if isinstance(pinned, str) else pinned
        with storage_errors(self._store.where):
            checkpoint = self._log.verify(given)
        try:
            history = self.state().history
            State().replayed(history)
        except RegistryError:  # the log is authentic; events of a newer program are not understood
            return checkpoint
        require_order(history)
        return checkpoint

    def _summarised(self, state: State) -> State:
        """Keep a summary of the state once there are many events since the last."""
        if state.size - state.summarised < _EVERY:
            return state
        try:
            digest = self._blobs.put(state.summary())
            event = {"type": "summarised", "summary": str(digest), "form": SUMMARY_FORM}
            return self.append(state, event) or state
        except (MLSecOpsError, OSError):  # nobody asked for it, and the next event tries again
            return state

    def _from_summary(self) -> None:
        """Begin at the last summary of a long log instead of at its first entry."""
        checkpoint = self._log.newest()
        start = (checkpoint.size - _WINDOW) // TILE_WIDTH * TILE_WIDTH
        if start <= 0:
            return
        before = self._log.tree(checkpoint).peaks(start)  # proven by the root that they lead to
        tail = self._log.tail(before)
        for place in reversed(range(len(tail.entries))):
            if b'"summarised"' not in tail.entries[place]:
                continue
            event = _parsed(tail.entries[place])
            if event["type"] != "summarised" or event.get("form") != SUMMARY_FORM:
                continue
            peaks = before.extend(map(leaf_hash, tail.entries[:place]))
            data = self._blobs.read(Digest.parse(event["summary"]))
            state = State.from_summary(data, past=functools.cache(partial(self._past, peaks)))
            if state.size == peaks.size:
                self._seen = state.after(map(_parsed, tail.entries[place:]))
                self._peaks = tail.peaks
            return

    def _past(self, peaks: Peaks) -> list[Event]:
        """The events of a prefix of the log, verified."""
        with storage_errors(self._store.where):
            bodies = list(itertools.islice(self._log.entries(0, self._log.newest()), peaks.size))
        if Peaks.EMPTY.extend(map(leaf_hash, bodies)) != peaks:
            raise DigestMismatch(
                f"registry {self._store.where}: its first {peaks.size} events are not those of the "
                "log; restore it, and find out who wrote it"
            )
        return [Event.read(index, _parsed(body)) for index, body in enumerate(bodies)]

    def _read(self) -> State:
        if not self._seen.size:
            with contextlib.suppress(MLSecOpsError, OSError):  # else from the first entry
                self._from_summary()
        try:
            tail = self._log.tail(self._peaks)
        except ThresholdNotMet:
            if self._signer is None:
                raise
            self._log.cosign()  # whoever published it did not know the witnesses
            tail = self._log.tail(self._peaks)
        seen = self._seen.after(map(_parsed, tail.entries)) if tail.entries else self._seen
        if seen.retired:
            self._require_current(tail.checkpoint, seen)
        self._seen, self._peaks = seen, tail.peaks
        return seen

    def _require_current(self, checkpoint: Checkpoint, state: State) -> None:
        """Demand a signature by a key that was not rotated out."""
        keys = map(fingerprint_of, signing_keys(checkpoint, self._log.trust.keys))
        ends = [state.retired[key].index + 1 if key in state.retired else math.inf for key in keys]
        if checkpoint.size > max(ends):  # both keys sign the rotation itself
            raise UntrustedSigner(
                f"registry {self._store.where}: its log is signed by a key that was rotated out; "
                "whoever has the old key writes it: restore the log"
            )

    def _require_operator(self, state: State) -> None:
        """Demand a signer that was neither rotated out nor revoked."""
        if self._signer is None:
            return
        fingerprint = self._signer.public_key.fingerprint
        if fingerprint in state.retired:
            raise RegistryError(
                f"registry {self._store.where}: the signer's key {fingerprint[:16]} was rotated "
                f"out; use key {state.retired[fingerprint].detail['key'][:16]}"
            )
        if fingerprint in map(fingerprint_of, self._log.trust.revoked):
            raise Revoked(
                f"registry {self._store.where}: the policy revokes the signer's key "
                f"{fingerprint[:16]}; let another take over: registry rotate-key --new-signer NEW"
            )

    def sign_with(self, signer: Signer) -> None:
        """Sign with another key from now on."""
        self._signer = signer
        self._log.sign_with(signer)

    def _require_new(self) -> None:
        """Demand a signer and an empty location, or one that a killed process began."""
        where = self._store.where
        names = {key.partition("/")[0] for key in itertools.islice(self._store.keys(""), _LOOK)}
        if OLD_LOG in names:
            raise RegistryError(
                f"{where}: its log is of an earlier release ({OLD_LOG}); read it once with "
                f"mlsecops registry --location {where} migrate"
            )
        if self._signer is None or names - {HEAD, PREFIX.rstrip("/")}:
            if self._signer is not None and self._log.exists():  # others began it meanwhile
                return
            raise RegistryError(
                f"{where}: expected a registry, found no {PREFIX}checkpoint; give an empty "
                "folder or prefix and a signer to begin one, or restore the log"
            )

    def _require_conditions(self) -> None:
        """Demand a store that heeds the conditions of a put: two writers would lose events."""
        if isinstance(self._store, FolderStore):
            return
        head = self._store.get(HEAD, most=MOST_HEAD_BYTES)
        if head is not None and (
            self._store.put_if_absent(HEAD, head.data) is not None
            or self._store.put_if_unchanged(HEAD, head.data, f'"{"0" * 32}"\n1') is not None
        ):
            raise RegistryError(
                f"{self._store.where}: the store overwrites objects despite If-None-Match or "
                "If-Match; use one that supports conditional writes, or a folder"
            )

    def _stamped(self, event: Mapping[str, Any]) -> bytes:
        return _canonical({"at": self._clock().isoformat(), **event})


def _make(store: FolderStore) -> None:
    try:
        private_folder(store.root)
    except OSError as error:
        raise UsageError(f"location: cannot make {store.root}: {error.strerror}") from error


def _canonical(event: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(
            event, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"event: expected JSON values, got {error}") from error


def _parsed(body: bytes) -> dict[str, Any]:
    return parse_object(body, what="registry log: entry", error=RegistryError)


def require_order(history: Sequence[Event]) -> None:
    """Warn where an event says an earlier time than one before it, by more than clocks differ.

    The order of events is that of the log; their times are what each writer's clock showed.
    """
    latest: Event | None = None
    for event in history:
        at, known = _time(event), None if latest is None else _time(latest)
        if latest is not None and (at is None or (known is not None and at < known - _SKEW)):
            warnings.warn(
                f"registry log, entry {event.index}: its time {event.at[:40]!r} is before "
                f"{latest.at[:40]!r} of entry {latest.index}; the writer's clock was wrong: trust "
                "the order of the log, not its times",
                MLSecOpsWarning,
                stacklevel=4,
            )
            return
        latest = event if known is None or (at is not None and at > known) else latest


def _time(event: Event) -> datetime | None:
    try:
        at = datetime.fromisoformat(event.at)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
