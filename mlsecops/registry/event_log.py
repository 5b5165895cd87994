"""Event log of a registry: newest state, and events decided on it.

signed log → verified events → State; decision on the newest State → event, or a new decision
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._files import private_folder
from mlsecops.errors import MLSecOpsWarning, RegistryError, UsageError
from mlsecops.provenance.merkle import Peaks
from mlsecops.registry.state import Event, State
from mlsecops.registry.storage_errors import storage_errors

if TYPE_CHECKING:
    from mlsecops.audit import AuditLog, Checkpoint

__all__ = ["EventLog", "require_order"]

_SKEW: Final = timedelta(minutes=1)  # chosen: clocks kept by NTP differ by less than a second


class EventLog:
    """The events of a registry, and the state after them.

    Args:
        log: The signed log, in the registry's folder.
        clock: Returns the time of an event, timezone-aware.
    """

    def __init__(self, log: AuditLog, *, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = State()
        self._peaks = Peaks.EMPTY

    def begin(self, *, writable: bool) -> None:
        """Create the log of a new registry; a folder with content and no log is not new.

        Args:
            writable: Whether there is a signer, which a new log needs.

        Raises:
            RegistryError: There is no registry, or its log is missing.
        """
        folder = self._log.path.parent
        with storage_errors(folder):
            if not self._is_new(folder):
                return
            if not writable or (folder.is_dir() and set(folder.iterdir()) - {self._log.path}):
                raise RegistryError(
                    f"{folder}: expected a registry, found no {self._log.path.name}; give an empty "
                    "folder and a signer to begin one, or restore the log"
                )
            try:
                private_folder(folder)
            except OSError as error:
                raise UsageError(f"location: cannot make {folder}: {error.strerror}") from error
            self._log.try_append({"type": "created", "at": self._clock().isoformat()}, size=0)

    def state(self) -> State:
        """The state after every event of the log.

        Raises:
            RegistryError: The log cannot be read, or its events contradict each other.
            VerificationError: It was changed, or is not the pinned one.
        """
        with self._lock, storage_errors(self._log.path.parent):
            tail = self._log.tail(self._peaks)
            if tail.events:
                self._seen = self._seen.after(tail.events)
                self._peaks = tail.peaks
            return self._seen

    def append(self, state: State, event: Mapping[str, Any]) -> bool:
        """Add an event that was decided on a state; False if another event came first."""
        stamped = {"at": self._clock().isoformat(), **event}
        with storage_errors(self._log.path.parent):
            appended = self._log.try_append(stamped, size=state.size) is not None
        if appended:
            self.state()  # a later rollback of the log is noticed
        return appended

    def record(self, decide: Callable[[State], Mapping[str, Any] | None]) -> None:
        """Record the decision on the newest state; decide again if another event came first."""
        while (event := decide(state := self.state())) is not None:
            if self.append(state, event):
                return

    def verify(self, pinned: Checkpoint | str | None) -> Checkpoint:
        """Verify every event, and warn where times go back."""
        checkpoint = self._log.verify(pinned)
        try:
            history = self.state().history
        except RegistryError:  # the log is authentic; events of a newer program are not understood
            return checkpoint
        require_order(history)
        return checkpoint

    def _is_new(self, folder: Path) -> bool:
        """Whether there is no log, or the empty file of a process killed while it began one."""
        log = self._log.path
        if not os.path.lexists(log):
            return True
        empty = log.is_file() and log.stat().st_size == 0
        return empty and set(folder.iterdir()) == {log}


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
