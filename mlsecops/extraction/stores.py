"""Where clients' trails are kept: in this process, or in Redis for all replicas together.

client, change → LocalTrails or RedisTrails → the trail after the change

Evidence adds up in order, so replicas take turns on one trail instead of merging several: a
replica reads it, changes it and writes it back only if nobody wrote in between.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

from mlsecops._bounded_map import BoundedMap
from mlsecops._extras import require
from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.extraction.client_history import Trail

__all__ = ["LocalTrails", "RedisTrails", "Trails"]

R = TypeVar("R")

_TRIES: Final = 5
_SALT_BYTES: Final = 16


class Trails(Protocol):
    """Keeps a trail for each client."""

    def use(self, client: str | None, now: float, change: Callable[[Trail], R]) -> R:
        """Change a client's trail, a new one for a new client, and give what the change gives.

        Args:
            client: Whose.
            now: Time in seconds, on the clock that all calls share.
            change: Changes a trail; it may run more than once, each time on a trail as it was.
        """


class LocalTrails:
    """Trails of this process, bounded in number and in time.

    Args:
        capacity: Largest number of clients; the least recently seen is forgotten.
        ttl: Seconds after which a silent client is forgotten.
    """

    def __init__(self, *, capacity: int = 10_000, ttl: float = 3600.0) -> None:
        self._known: BoundedMap[str | None, Trail] = BoundedMap(Trail, capacity=capacity, ttl=ttl)

    def use(self, client: str | None, now: float, change: Callable[[Trail], R]) -> R:
        """Change a client's trail."""
        return change(self._known.use(client, now))

    def __iter__(self) -> Iterator[tuple[str | None, Trail]]:
        for client in self._known:
            trail = self._known.get(client)
            if trail is not None:
                yield client, trail


class RedisTrails:
    """Trails that replicas share, at most 64 kB a client.

    Redis forgets a silent client after `ttl`; bound their number with its `maxmemory` and the
    policy `volatile-lru`. Keys are an HMAC of the client's name, and what is stored is rotated
    by the detector's salt, so whoever reads Redis learns no names and no inputs without the salt.
    Whoever may *write* there can clear a thief: keep it as private as the model.

    While Redis cannot be reached each replica goes on with trails of its own, and tries again
    after `pause`.

    Args:
        store: `redis://host:6379/0`.
        salt: The detector's salt, at least 16 bytes.
        name: Whose clients these are; replicas of one model give the same name.
        ttl: Seconds after which a silent client is forgotten.
        capacity: Largest number of clients of the fallback.
        timeout: Seconds to wait for Redis.
        pause: Seconds to go without it after it could not be reached.

    Attributes:
        unreachable: How often Redis could not be reached.
        contended: How often other replicas wrote five times in a row, so that a change was lost.
        discarded: How many stored trails were damaged, and begun anew.

    Raises:
        UsageError: The address or the salt is none.
        MissingExtra: `redis` is not installed.
    """

    def __init__(
        self,
        store: str,
        *,
        salt: bytes,
        name: str = "model",
        ttl: float = 3600.0,
        capacity: int = 10_000,
        timeout: float = 0.25,
        pause: float = 5.0,
    ) -> None:
        if len(salt) < _SALT_BYTES:
            raise UsageError(f"salt: expected at least {_SALT_BYTES} bytes, got {len(salt)}")
        self._redis = require("redis")
        try:
            self._store = self._redis.Redis.from_url(
                store, socket_timeout=timeout, socket_connect_timeout=timeout
            )
        except ValueError as error:
            raise UsageError("store: expected an address like redis://host:6379/0") from error
        self._salt, self._name, self._ttl, self._pause = salt, name, ttl, pause
        self._own = LocalTrails(capacity=capacity, ttl=ttl)
        self._back = 0.0
        self.unreachable = self.contended = self.discarded = 0

    def use(self, client: str | None, now: float, change: Callable[[Trail], R]) -> R:
        """Change a client's trail in Redis, or here while Redis is away."""
        if time.monotonic() >= self._back:
            try:
                return self._shared(self._key(client), change)
            except self._redis.RedisError:
                self.unreachable += 1
                self._back = time.monotonic() + self._pause
        return self._own.use(client, now, change)

    def _shared(self, key: str, change: Callable[[Trail], R]) -> R:
        with self._store.pipeline() as pipe:
            for _ in range(_TRIES):
                pipe.watch(key)
                trail = self._read(pipe.get(key))
                result = change(trail)
                pipe.multi()
                pipe.set(key, trail.to_bytes(), px=max(1, int(self._ttl * 1000)))
                try:
                    pipe.execute()
                except self._redis.WatchError:
                    continue
                return result
        self.contended += 1
        return result

    def _read(self, data: Any) -> Trail:
        """A stored trail; a damaged one must not keep its client unwatched for ever."""
        if data is None:
            return Trail()
        try:
            return Trail.from_bytes(data)
        except (FormatRefused, LimitExceeded):
            self.discarded += 1
            return Trail()

    def _key(self, client: str | None) -> str:
        who = b"\x00" if client is None else b"\x01" + client.encode("utf-8", "surrogateescape")
        hidden = hmac.new(self._salt, who, hashlib.sha256).hexdigest()
        return f"mlsecops:trail:{self._name}:{hidden}"
