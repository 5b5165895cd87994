"""Quota: calls per window for each client or for all, shared by replicas through Redis.

call → counter of each window, in this process or in Redis → model, or RateLimited
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, Literal

from mlsecops._choices import checked, number, whole
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import CallRefused, RateLimited, UsageError

_EVERYBODY: Final = "*"


@concise_repr("_name", "_windows", "_per")
@checked
class Quota:
    """Limit of calls in each of several windows (sliding window counters).

    Replicas with the same Redis store share the counters. If the store cannot be reached, every
    call is refused: cutting the connection must not lift the quota. A call that a longer window
    refuses may have used up a place in a shorter one.

    Args:
        windows: Amounts and durations (`"10/second; 2000/hour; 20000/day"`).
        name: Name of the counters; replicas of one model use the same name.
        per: `"client"` for a quota for each client, `"model"` for one quota for all.
        store: `"memory://"`, or `"redis://host:6379/0"` for replicas.
        cost: Cost of a call with this input; 1 by default. Use `len` where calls are batches.
            A call that costs more than a window's amount is always refused.
        timeout: Seconds to wait for Redis, on the caller's thread, > 0.
        capacity: Number of clients in memory; the least recently seen is removed.

    Raises:
        UsageError: An argument is unknown or out of its range, or the windows cannot be read.
        MissingExtra: `limits` is not installed.

    Examples:
        >>> Quota("2/hour", name="fraud").check("ann", None)

    Source: limits, "Sliding Window Counter" strategy.
    """

    control: Final = "Rate limit"

    def __init__(
        self,
        windows: str,
        *,
        name: str = "model",
        per: Literal["client", "model"] = "client",
        store: str = "memory://",
        cost: Callable[[Any], int] = lambda _: 1,
        timeout: float = 0.25,
        capacity: int = 10_000,
    ) -> None:
        self._per, self._name, self._cost = per, name, cost
        number("timeout", timeout, "seconds above 0", lambda seconds: seconds > 0)
        whole("capacity", capacity, "a number of clients from 1 on")
        limits, strategies = require("limits"), require("limits.strategies")
        try:
            # Shortest first: a place that is lost in a shorter window is soon free again.
            self._windows = sorted(limits.parse_many(windows), key=lambda each: each.get_expiry())
        except ValueError as error:
            raise UsageError(
                f"windows: expected amounts such as '10/second; 2000/hour', got {windows[:60]!r}"
            ) from error
        self._strategy: Any = strategies.SlidingWindowCounterRateLimiter
        self._store: Callable[[], Any] = lambda: _storage(store, timeout)
        self._capacity = capacity if store.startswith("memory:") else None
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._limiter: Any = self._strategy(self._store())
        self._seen = None if self._capacity is None else _Seen(self._capacity)

    def check(self, client: str | None, inputs: Any) -> None:
        """Count the call in each window.

        Raises:
            RateLimited: A window is full.
            CallRefused: The store cannot be reached.
        """
        key = _EVERYBODY if self._per == "model" else _hidden(client)
        cost = self._cost(inputs)
        if self._process != os.getpid():
            # After a fork, the thread that held a lock of the store does not exist here.
            self._renew()
        try:
            self._forget(key)
            full = next((each for each in self._windows if not self._hit(each, key, cost)), None)
            if full is None:
                return
            reset = self._limiter.get_window_stats(full, self._name, key).reset_time
        except Exception as error:
            raise CallRefused(
                f"quota of {self._name}: the store of its counters cannot be reached "
                f"({type(error).__name__}), so the call is refused; restore the connection"
            ) from error
        wait = max(0.0, reset - time.time())
        who = "all clients together" if self._per == "model" else f"client {client!r}"
        raise RateLimited(f"{who}: at most {full}; retry in {wait:.2f} s", retry_after=wait)

    def _hit(self, window: Any, key: str, cost: int) -> bool:
        return bool(self._limiter.hit(window, self._name, key, cost=cost))

    def _forget(self, key: str) -> None:
        """Bound the memory for any number of client names; Redis expires keys itself."""
        old = None if self._seen is None else self._seen.use(key)
        if old is not None:
            for window in self._windows:
                self._limiter.clear(window, self._name, old)


class _Seen:
    """Keys in the order of their last use."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._keys: OrderedDict[str, None] = OrderedDict()

    def use(self, key: str) -> str | None:
        """Add a key, and return the one that is removed for it."""
        with self._lock:
            self._keys[key] = None
            self._keys.move_to_end(key)
            return self._keys.popitem(last=False)[0] if len(self._keys) > self._capacity else None


def _storage(store: str, timeout: float) -> Any:
    storage, errors = require("limits.storage"), require("limits.errors")
    options: dict[str, Any] = {}
    if store.startswith("redis"):
        require("redis")
        options = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    try:
        return storage.storage_from_string(store, **options)
    except (errors.ConfigurationError, ValueError):
        # The address of a store may hold a password, and so may the original error.
        kind = store.partition(":")[0][:20]
        raise UsageError(
            f"store: expected memory:// or redis://host:port/0, got one of kind {kind!r}"
        ) from None


def _hidden(client: str | None) -> str:
    """Key of a client: of bounded length, so that the shared store holds no names."""
    return hashlib.sha256(str(client).encode()).hexdigest()[:32] if client is not None else "-"
