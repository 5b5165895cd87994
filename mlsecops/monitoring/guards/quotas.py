"""How often may a client, or all of them, call in each of several windows, over all replicas.

call → a counter for each window, in this process or in Redis → the model, or RateLimited
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, Literal

from mlsecops._extras import require
from mlsecops.errors import CallRefused, RateLimited, UsageError

__all__ = ["Quota"]

_EVERYBODY: Final = "*"


class Quota:
    """Refuses calls beyond any of several windows (sliding window counters).

    With a Redis store replicas count together. A store that cannot be reached refuses every call:
    whoever can cut the connection must not get past the quota. A client that one window refuses
    may have used up a place in a shorter one.

    Args:
        windows: Amounts and durations (`"10/second; 2000/hour; 20000/day"`).
        name: What is limited; replicas of one model give the same name.
        per: Whether each client has the quota, or all of them together have one.
        store: `"memory://"`, or `"redis://host:6379/0"` for replicas.
        cost: What a call of that input costs; 1 by default. Use `len` where calls are batches.
            A call that costs more than a window's amount is always refused.
        timeout: Seconds to wait for Redis, which the caller spends.
        capacity: Number of clients remembered in memory; the least recently seen is forgotten.

    Raises:
        UsageError: The windows cannot be read or the store is of an unknown kind.
        MissingExtra: `limits` is not installed.

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
        limits, strategies = require("limits"), require("limits.strategies")
        try:
            # Shortest first: what a longer window refuses costs a place that soon returns.
            self._windows = sorted(limits.parse_many(windows), key=lambda each: each.get_expiry())
        except ValueError as error:
            raise UsageError(
                f"windows: expected amounts such as '10/second; 2000/hour', got {windows[:60]!r}"
            ) from error
        self._strategy: Any = strategies.SlidingWindowCounterRateLimiter
        self._store: Callable[[], Any] = lambda: _storage(store, timeout)
        self._name = name
        self._per = per
        self._cost = cost
        self._capacity = capacity if store.startswith("memory:") else None
        self._renew()

    def _renew(self) -> None:
        """Start with counters and locks of this process."""
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
            # Forked: a thread that held a lock of the store is not here to release it.
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
                f"({type(error).__name__}), so nobody can say whether it is used up"
            ) from error
        wait = max(0.0, reset - time.time())
        who = "all clients together" if self._per == "model" else f"client {client!r}"
        raise RateLimited(f"{who}: at most {full}; retry in {wait:.2f} s", retry_after=wait)

    def _hit(self, window: Any, key: str, cost: int) -> bool:
        return bool(self._limiter.hit(window, self._name, key, cost=cost))

    def _forget(self, key: str) -> None:
        """Keep the memory bounded, whatever names callers make up; Redis forgets by itself."""
        old = None if self._seen is None else self._seen.use(key)
        if old is not None:
            for window in self._windows:
                self._limiter.clear(window, self._name, old)


class _Seen:
    """Which keys were used lately.

    Args:
        capacity: How many are remembered.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._keys: OrderedDict[str, None] = OrderedDict()

    def use(self, key: str) -> str | None:
        """Remember a key, and say which one is forgotten for it."""
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
        # A store's address may hold a password, and so may the cause.
        kind = store.partition(":")[0][:20]
        raise UsageError(
            f"store: expected memory:// or redis://host:port/0, got one of kind {kind!r}"
        ) from None


def _hidden(client: str | None) -> str:
    """A client's key: of bounded length, and no name in the shared store."""
    return hashlib.sha256(str(client).encode()).hexdigest()[:32] if client is not None else "-"
