"""Bounded queue between caller and worker thread; calls beyond its capacity are dropped."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mlsecops.monitoring.service.tally import PLACES

MAX_BYTES: Final = 256 * 2**20  # bytes of arrays and lists; chosen: bounds the cost of a flood
_POINTER: Final = 8  # bytes of a list item; CPython on 64 bits


class CallRecord(NamedTuple):
    """One call that ended; a tuple, because it is made on the caller's thread.

    Attributes:
        at: Unix time in seconds when it ended.
        seconds: Duration.
        outcome: `"ok"`, `"error"` or `"refused"`.
        error: Name of the exception's type or of the guard, or "".
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
    """A late label of a request, or one for each of its rows; `at` is Unix time in seconds.

    `foreign` labels came through another process, which has no prediction for them.
    """

    request_id: str
    label: Any
    at: float
    foreign: bool = False


def held_bytes(value: Any) -> int:
    """Approximate memory of a value: arrays exactly, lists by their first item."""
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, (list, tuple)) and value:
        return len(value) * (_POINTER + held_bytes(value[0]))
    return 0


class CallQueue:
    """Calls and labels that wait for the worker.

    It holds at most `capacity` calls, whose arrays and lists have at most `max_bytes` in all.
    `tally` makes the numbers of calls by outcome, which may be in memory that outlives the process.
    """

    __slots__ = (
        "_bytes",
        "_capacity",
        "_events",
        "_lock",
        "_max_bytes",
        "_new_tally",
        "_tally",
        "calls",
        "dropped",
        "lost",
    )

    def __init__(
        self,
        capacity: int,
        *,
        max_bytes: int = MAX_BYTES,
        tally: Callable[[], MutableSequence[int] | memoryview] = lambda: [0] * len(PLACES),
    ) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._new_tally = tally
        self.reset()

    def __len__(self) -> int:
        return len(self._events)

    def reset(self) -> None:
        """Empty the queue and renew its lock, as a forked child must."""
        # Reentrant: a signal handler or finaliser may call a monitored function at any point.
        self._lock = threading.RLock()
        self._events: deque[tuple[int, CallRecord | Label]] = deque()
        self._bytes = 0
        self._tally: MutableSequence[int] | memoryview | None = None
        self.calls = 0
        self.dropped = 0
        self.lost: Counter[str] = Counter()

    def append(self, event: CallRecord, size: int) -> None:
        """Add a call that holds so many bytes (`held_bytes`), or drop it if there is no room."""
        with self._lock:
            self.calls += 1
            if self._tally is None:
                self._tally = self._new_tally()
            self._tally[PLACES[event.outcome]] += 1
            if len(self._events) >= self._capacity or self._bytes + size > self._max_bytes:
                self.dropped += 1
                self.lost[event.outcome] += 1
                return
            self._bytes += size
            self._events.append((size, event))

    def append_label(self, label: Label) -> bool:
        """Add a label, which is no call; returns whether there was room."""
        with self._lock:
            size = held_bytes(label.label)
            if len(self._events) >= 2 * self._capacity or self._bytes + size > self._max_bytes:
                return False
            self._bytes += size
            self._events.append((size, label))
            return True

    def drop(self) -> None:
        """Register a call that is not queued."""
        with self._lock:
            self.calls += 1
            self.dropped += 1

    def take_lost(self) -> Counter[str]:
        """Remove and return the dropped calls, by outcome."""
        with self._lock:
            taken, self.lost = self.lost, Counter()
        return taken

    def take(self, limit: int) -> list[CallRecord | Label]:
        """Remove and return the oldest calls and labels, at most `limit` of them."""
        with self._lock:
            taken = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
            self._bytes -= sum(size for size, _ in taken)
        return [event for _, event in taken]

    def hold(self) -> None:
        """Acquire the lock while the process forks."""
        self._lock.acquire()

    def release(self) -> None:
        """Release the lock after `hold`."""
        self._lock.release()
