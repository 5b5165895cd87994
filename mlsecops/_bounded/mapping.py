"""Bounded map: least-recently-used eviction and time to live, for state that clients name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """A map that forgets the least recently used key, and keys unused for too long.

    Args:
        make: Makes the value of a new key.
        capacity: Largest number of keys.
        ttl: Seconds after which an unused key is forgotten.
    """

    def __init__(self, make: Callable[[], V], *, capacity: int = 10_000, ttl: float = 3600) -> None:
        self._make = make
        self._capacity = capacity
        self._ttl = ttl
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._entries))

    def get(self, key: K) -> V | None:
        """The value of a key, if it is remembered."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def use(self, key: K, now: float) -> V:
        """The value of a key, created if it is new.

        Args:
            key: Which.
            now: Time in seconds, on the clock that all calls share.
        """
        self._forget(now)
        entry = self._entries.get(key)
        value = self._make() if entry is None else entry[1]
        self._entries[key] = (now, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return value

    def pop(self, key: K) -> V | None:
        """Remove a key and return its value."""
        entry = self._entries.pop(key, None)
        return None if entry is None else entry[1]

    def _forget(self, now: float) -> None:
        while self._entries:
            used, _ = next(iter(self._entries.values()))
            if now - used <= self._ttl:
                return
            self._entries.popitem(last=False)
