"""Where the caller's thread leaves a call for the worker: bounded, counting what it refuses."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

__all__ = ["CallRecord", "Label", "Ring", "held_bytes"]

MAX_BYTES: Final = 256 * 2**20
_POINTER: Final = 8


class CallRecord(NamedTuple):
    """One call that ended; a tuple, because it is made on the caller's thread.

    Attributes:
        at: Unix time in seconds when it ended.
        seconds: Duration.
        outcome: `"ok"`, `"error"` or `"refused"`.
        error: Name of the exception's type, or "".
        client: Who called, or None.
        request_id: Id of the request, ids of its rows, or None.
        inputs: What the model saw (a copy), or None.
        result: What it answered (a copy), or None.
    """

    at: float
    seconds: float
    outcome: str
    error: str
    client: Any
    request_id: Any
    inputs: Any
    result: Any


@dataclass(frozen=True, slots=True)
class Label:
    """A late label on its way to the worker.

    Attributes:
        request_id: Id of the request.
        label: True class, or one for each row of the request.
        at: Unix time in seconds when it arrived.
    """

    request_id: str
    label: Any
    at: float


def held_bytes(value: Any) -> int:
    """About how much memory a value keeps: arrays exactly, lists by their first item."""
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, (list, tuple)) and value:
        return len(value) * (_POINTER + held_bytes(value[0]))
    return 0


class Ring:
    """Events that wait for the worker.

    Args:
        capacity: Largest number of events, ≥ 1.
        max_bytes: Largest total size of the arrays and lists that they hold.
    """

    __slots__ = ("_bytes", "_capacity", "_events", "_lock", "_max_bytes", "calls", "dropped")

    def __init__(self, capacity: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self.calls = 0
        self.dropped = 0
        self.renew()

    def __len__(self) -> int:
        return len(self._events)

    def renew(self) -> None:
        """Start empty with a lock of its own, as a forked child must."""
        # Reentrant: a signal handler or finaliser may call a monitored function at any point.
        self._lock = threading.RLock()
        self._events: deque[tuple[int, CallRecord | Label]] = deque()
        self._bytes = 0
        self.calls = 0
        self.dropped = 0

    def append(self, event: CallRecord, size: int) -> None:
        """Leave an event, or count it as dropped if there is no room.

        Args:
            event: What happened.
            size: Bytes that it holds (`held_bytes`).
        """
        with self._lock:
            self.calls += 1
            if len(self._events) >= self._capacity or self._bytes + size > self._max_bytes:
                self.dropped += 1
                return
            self._bytes += size
            self._events.append((size, event))

    def leave(self, label: Label) -> bool:
        """Leave a label; it is no call, and False says that there was no room."""
        with self._lock:
            if len(self._events) >= 2 * self._capacity:
                return False
            self._events.append((0, label))
            return True

    def drop(self) -> None:
        """Count a call that nobody will look at."""
        with self._lock:
            self.calls += 1
            self.dropped += 1

    def take(self, limit: int) -> list[CallRecord | Label]:
        """Take the oldest events.

        Args:
            limit: How many at most.
        """
        with self._lock:
            taken = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
            self._bytes -= sum(size for size, _ in taken)
        return [event for _, event in taken]

    def hold(self) -> None:
        """Keep everyone out while the process forks."""
        self._lock.acquire()

    def release(self) -> None:
        """Let everyone in again after `hold`."""
        self._lock.release()
