"""Who drains the rings: one daemon thread for all monitors of the process.

It starts with the first call, sleeps while nothing happens, starts anew in a forked child, and
gives way to a last drain when the interpreter exits.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from typing import Final, Literal, Protocol, TypeAlias

__all__ = ["Drainable", "Drained", "Worker", "worker"]

_INTERVAL: Final = 0.1
_IDLE_ROUNDS: Final = 50
_LAST_DRAIN: Final = 2.0


Drained: TypeAlias = Literal["nothing", "some", "more"]


class Drainable(Protocol):
    """What the worker drains."""

    def drain(self) -> Drained:
        """Take in some of what waits, and say whether there is more."""

    def flush(self, timeout: float = 5.0) -> bool:
        """Take in everything that waits, within that many seconds."""

    def hold(self) -> None:
        """Come to rest before a fork."""

    def release(self) -> None:
        """Go on after a fork, in the parent."""

    def renew(self) -> None:
        """Start from nothing, in the child."""


class Worker:
    """The thread, and the monitors it serves until they are closed."""

    def __init__(self) -> None:
        self._served: set[Drainable] = set()
        self._held: list[Drainable] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.asleep = True

    def serve(self, monitor: Drainable) -> None:
        """Drain a monitor from now on."""
        with self._lock:
            self._served.add(monitor)

    def leave(self, monitor: Drainable) -> None:
        """Drain a monitor no more."""
        with self._lock:
            self._served.discard(monitor)

    def wake(self) -> None:
        """Start the thread, or wake it; callers do this when they see `asleep`."""
        with self._lock:
            self.asleep = False
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="mlsecops-monitoring", daemon=True
                )
                _finish_with_the_process(self)
                self._thread.start()

    def _run(self) -> None:
        idle = 0
        while True:
            drained = {monitor.drain() for monitor in self._all()}
            if "more" in drained:
                continue
            idle = 0 if "some" in drained else idle + 1
            if idle < _IDLE_ROUNDS:
                time.sleep(_INTERVAL)
                continue
            self._wake.clear()
            self.asleep = True
            # A call that saw us awake just now left its event without waking us: look once more.
            if {monitor.drain() for monitor in self._all()} <= {"nothing"}:
                self._wake.wait()
            self.asleep = False
            idle = 0

    def _all(self) -> list[Drainable]:
        with self._lock:
            return list(self._served)

    def finish(self) -> None:
        """Drain everything a last time, for two seconds at most."""
        deadline = time.monotonic() + _LAST_DRAIN
        for monitor in self._all():
            monitor.flush(max(0.0, deadline - time.monotonic()))

    def before_fork(self) -> None:
        """Bring every monitor to rest, so that the child inherits nothing half done."""
        self._held = self._all()
        for monitor in self._held:
            monitor.hold()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()
        for monitor in self._held:
            monitor.release()
        self._held = []

    def after_fork_in_child(self) -> None:
        """Start anew: the thread is gone, and what waits belongs to the parent."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None
        self.asleep = True
        for monitor in self._held:
            monitor.renew()
        self._held = []


def _finish_with_the_process(worker: Worker) -> None:
    """Drain at the end of a multiprocessing child too, which skips `atexit`."""
    loaded = sys.modules.get("multiprocessing.process")
    if loaded is not None and loaded.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, worker.finish, exitpriority=100)


worker: Final = Worker()
atexit.register(worker.finish)
os.register_at_fork(
    before=worker.before_fork,
    after_in_parent=worker.after_fork_in_parent,
    after_in_child=worker.after_fork_in_child,
)
