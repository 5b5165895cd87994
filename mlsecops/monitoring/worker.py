"""Worker thread: one daemon thread drains the queues of all monitors of the process.

It starts with the first call, sleeps while there are no calls, restarts in a forked child, and
leaves a last drain to the interpreter's exit.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from typing import Final, Literal, Protocol, TypeAlias

from mlsecops._platform import at_fork
from mlsecops.monitoring.service.publication import Publication

_INTERVAL: Final = 0.1  # seconds between two drains; chosen: the delay of an alert
_IDLE_ROUNDS: Final = 50  # empty drains, 5 seconds, before the thread sleeps; chosen
_LOOK: Final = 5.0  # seconds between two looks without calls; chosen
_LAST_DRAIN: Final = 2.0  # seconds at exit; chosen: an exit is not delayed noticeably

Drained: TypeAlias = Literal["nothing", "some", "more"]


class Drainable(Protocol):
    """A monitor, as the worker uses it."""

    def drain(self) -> Drained:
        """Aggregate some of the queue; returns whether there is more."""

    @property
    def expectant(self) -> bool:
        """Whether time or another process can change something without a call."""

    def finish(self, timeout: float) -> bool:
        """Aggregate the whole queue and deliver, within that many seconds."""

    def hold(self) -> None:
        """Acquire all locks before a fork."""

    def release(self) -> None:
        """Release them after a fork, in the parent."""

    def reset(self) -> None:
        """Start empty, in the child."""


class Worker:
    """The thread, and the monitors it drains until they are closed."""

    def __init__(self) -> None:
        self._monitors: set[Drainable] = set()
        self._held: list[Drainable] = []
        self._thread: threading.Thread | None = None
        # Reentrant: a signal's handler may end the process while this thread wakes the worker.
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self.asleep = True
        self._ending = False
        self.publication = Publication()

    def add(self, monitor: Drainable) -> None:
        """Drain a monitor from now on."""
        with self._lock:
            self._monitors.add(monitor)

    def remove(self, monitor: Drainable) -> None:
        """Stop draining a monitor."""
        with self._lock:
            self._monitors.discard(monitor)

    def wake(self) -> None:
        """Start or wake the thread; callers do this when they see `asleep`."""
        if self._ending:
            self.finish(_LAST_DRAIN)
            return
        with self._lock:
            self.asleep = self._ending
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
            self.publication.publish()
            if "more" in drained:
                continue
            idle = 0 if "some" in drained else idle + 1
            if idle < _IDLE_ROUNDS or self.publication.dirty:
                time.sleep(_INTERVAL)
                continue
            self._wake.clear()
            self.asleep = True
            # A call that saw the thread awake did not wake it: drain once more.
            if {monitor.drain() for monitor in self._all()} <= {"nothing"}:
                self._sleep()
            self.asleep = self._ending
            idle = 0

    def _sleep(self) -> None:
        """Wait for the next call; look now and then whether an alert ended or a label came."""
        while not self._wake.wait(_LOOK if any(each.expectant for each in self._all()) else None):
            for monitor in self._all():
                monitor.drain()
            self.publication.publish()

    def _all(self) -> list[Drainable]:
        with self._lock:
            return list(self._monitors)

    def finish(self, timeout: float = _LAST_DRAIN) -> bool:
        """Drain all monitors, for `timeout` seconds at most; returns whether nothing waits."""
        deadline = time.monotonic() + timeout
        done = [monitor.finish(max(0.0, deadline - time.monotonic())) for monitor in self._all()]
        self.publication.publish(now=True)
        return all(done)

    def end(self) -> None:
        """Drain at once after each further call: the process ends when its server is done."""
        with self._lock:
            self._ending = self.asleep = True

    def before_fork(self) -> None:
        """Hold every monitor, so that the child inherits no half-done work."""
        self._held = self._all()
        for monitor in self._held:
            monitor.hold()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Release every monitor."""
        self._lock.release()
        for monitor in self._held:
            monitor.release()
        self._held = []

    def after_fork_in_child(self) -> None:
        """Start anew: the thread is gone, and the queued calls are the parent's."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread = None
        self.asleep = True
        self._ending = False
        self.publication = Publication()
        for monitor in self._held:
            monitor.reset()
        self._held = []


def _finish_with_the_process(worker: Worker) -> None:
    """Drain at the exit of a multiprocessing child too, which skips `atexit`."""
    loaded = sys.modules.get("multiprocessing.process")
    if loaded is not None and loaded.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, worker.finish, exitpriority=100)


worker: Final = Worker()
atexit.register(worker.finish)
at_fork(
    before=worker.before_fork,
    after_in_parent=worker.after_fork_in_parent,
    after_in_child=worker.after_fork_in_child,
)
