"""Stores of client histories: this process, or Redis for all replicas together.

    client, change → LocalHistoryStore or RedisHistoryStore → history after the change

Evidence accumulates in order, so replicas take turns on one history instead of merging several: a
replica reads it, changes it, and writes it back only if no other replica wrote in between.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.extraction.client_history import ClientHistory

R = TypeVar("R")

SALT_BYTES: Final = 16  # bytes; 128 bits, as NIST SP 800-132, section 5.1, asks of a salt
_TRIES: Final = 5  # transactions; chosen: five losses in a row need many replicas on one client


def checked_salt(salt: bytes) -> bytes:
    """The salt, if it is long enough."""
    if len(salt) < SALT_BYTES:
        raise UsageError(f"salt: expected at least {SALT_BYTES} bytes, got {len(salt)}")
    return salt


class HistoryStore(Protocol):
    """A store with one history for each client."""

    def use(self, client: str | None, now: float, change: Callable[[ClientHistory], R]) -> R:
        """Change a client's history, creating it for a new client; returns the change's result.

        `now` is in seconds on a clock that all calls share; `change` may run again on a fresh copy.
        """


@concise_repr("_known")
@checked
class LocalHistoryStore:
    """Histories in this process, bounded in number and in time.

    Args:
        capacity: Largest number of clients; the least recently seen is forgotten.
        ttl: Seconds after which a silent client is forgotten.

    Examples:
        >>> LocalHistoryStore(capacity=100).use("alice", 0.0, lambda history: history.queries)
        0
    """

    def __init__(self, *, capacity: int = 10_000, ttl: float = 3600.0) -> None:
        self._known: BoundedMap[str | None, ClientHistory] = BoundedMap(
            ClientHistory, capacity=capacity, ttl=ttl
        )

    def use(self, client: str | None, now: float, change: Callable[[ClientHistory], R]) -> R:
        """Change a client's history."""
        return change(self._known.use(client, now))

    def __iter__(self) -> Iterator[tuple[str | None, ClientHistory]]:
        for client in self._known:
            history = self._known.get(client)
            if history is not None:
                yield client, history


@concise_repr("_name", "_ttl", "unreachable", "contended", "discarded")
@checked
class RedisHistoryStore:
    """Histories that replicas share, at most 64 kB a client.

    Redis forgets a silent client after `ttl`; bound the number of clients with its `maxmemory` and
    the policy `volatile-lru`. Keys are an HMAC of the client's name, and stored queries are rotated
    by the detector's salt, so Redis reveals no names and no inputs without the salt. Whoever can
    *write* to it can erase evidence: keep it as private as the model.

    While Redis is unreachable each replica uses a local store, and tries again after `pause`.

    Args:
        store: `redis://host:6379/0`.
        salt: The detector's salt, at least 16 bytes.
        name: Separates models; replicas of one model use the same name.
        ttl: Seconds after which a silent client is forgotten.
        capacity: Largest number of clients in the local store.
        timeout: Seconds to wait for an answer of Redis.
        pause: Seconds without Redis after a failure.

    Attributes:
        unreachable: Number of failures to reach Redis.
        contended: Number of changes lost because other replicas wrote five times in a row.
        discarded: Number of damaged histories that were replaced by empty ones.

    Raises:
        UsageError: The address is malformed, or the salt too short.
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
        self._salt, self._name, self._ttl, self._pause = checked_salt(salt), name, ttl, pause
        self._redis = require("redis")
        try:
            self._store = self._redis.Redis.from_url(
                store, socket_timeout=timeout, socket_connect_timeout=timeout
            )
        except ValueError as error:
            raise UsageError("store: expected an address like redis://host:6379/0") from error
        self._local = LocalHistoryStore(capacity=capacity, ttl=ttl)
        self._retry_at = 0.0
        self.unreachable = self.contended = self.discarded = 0

    def use(self, client: str | None, now: float, change: Callable[[ClientHistory], R]) -> R:
        """Change a client's history in Redis, or the local one while Redis is unreachable."""
        if time.monotonic() >= self._retry_at:
            try:
                return self._shared(self._key(client), change)
            except self._redis.RedisError:
                self.unreachable += 1
                self._retry_at = time.monotonic() + self._pause
        return self._local.use(client, now, change)

    def _shared(self, key: str, change: Callable[[ClientHistory], R]) -> R:
        with self._store.pipeline() as pipe:
            for _ in range(_TRIES):
                pipe.watch(key)
                history = self._read(pipe.get(key))
                result = change(history)
                pipe.multi()
                pipe.set(key, history.to_bytes(), px=max(1, int(self._ttl * 1000)))
                try:
                    pipe.execute()
                except self._redis.WatchError:
                    continue
                return result
        self.contended += 1
        return result

    def _read(self, data: Any) -> ClientHistory:
        """A stored history; a damaged one is replaced, so that its client is judged."""
        if data is None:
            return ClientHistory()
        try:
            return ClientHistory.from_bytes(data)
        except (FormatRefused, LimitExceeded):
            self.discarded += 1
            return ClientHistory()

    def _key(self, client: str | None) -> str:
        who = b"\x00" if client is None else b"\x01" + client.encode("utf-8", "surrogateescape")
        hidden = hmac.new(self._salt, who, hashlib.sha256).hexdigest()
        return f"mlsecops:client:{self._name}:{hidden}"
