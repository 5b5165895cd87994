"""Alert delivery in the background, so that a slow receiver does not delay monitoring.

worker thread → bounded queue → delivery thread → deliver, retry, or give up
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from mlsecops.findings import Alert

_LOG: Final = logging.getLogger("mlsecops.monitoring")


class QueuedSink:
    """A sink that queues alerts for a function that may be slow or fail.

    Attributes:
        undelivered: Alerts given up, because the queue was full or every attempt failed.

    Args:
        deliver: Takes a few alerts; an exception is a failed attempt.
        capacity: Most alerts in the queue.
        pauses: Seconds to wait before each further attempt.
        at_once: Most alerts of a delivery, ≥ 1. With more than one, a failed attempt that
            delivered some of them is repeated with all.
    """

    def __init__(
        self,
        deliver: Callable[[Sequence[Alert]], object],
        *,
        capacity: int = 1000,
        pauses: Sequence[float] = (0.5, 2.0),
        at_once: int = 1,
    ) -> None:
        self._at_once = at_once
        self._deliver = deliver
        self._capacity = capacity
        self._pauses = tuple(pauses)
        self.undelivered = 0
        self._reset()

    def _reset(self) -> None:
        """Start empty; a forked child has neither the thread nor the parent's alerts."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[Alert] = deque()
        self._busy = 0
        self._thread: threading.Thread | None = None

    def __call__(self, alert: Alert) -> None:
        """Queue an alert for delivery."""
        if self._process != os.getpid():
            self._reset()
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self.undelivered += 1
                return
            self._waiting.append(alert)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="mlsecops-alerts", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds; returns whether the queue is empty."""
        if self._process != os.getpid():
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                some = [
                    self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))
                ]
                self._busy = len(some)
            delivered = self._attempt(some)
            with self._changed:
                self.undelivered += 0 if delivered else len(some)
                self._busy = 0
                self._changed.notify_all()

    def _attempt(self, alerts: list[Alert]) -> bool:
        for pause in (*self._pauses, None):
            try:
                self._deliver(alerts)
            except Exception as error:  # noqa: BLE001 - a receiver may raise anything
                if pause is None:
                    # The error may quote an address with a secret in it; its type does not.
                    _LOG.warning("%d alerts undelivered: %s", len(alerts), type(error).__name__)
                    return False
                time.sleep(pause)
            else:
                return True
        return False
