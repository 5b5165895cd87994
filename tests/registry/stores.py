"""Object store that a test stops before a request, as if the process were killed there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mlsecops.audit.objects import ObjectStore, open_store

VERBS = ("get", "get_if_changed", "put_if_absent", "put_if_unchanged", "keys", "stream", "upload")


class Killed(BaseException):
    """The process ends here."""


class CountedStore:
    """A store that notes each request, and is stopped before one of them.

    Args:
        store: The store.
        limit: Number of requests that are let through.
    """

    def __init__(self, store: ObjectStore, limit: float = float("inf")) -> None:
        self.store = store
        self.limit = limit
        self.requests: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        return self._counted(name, found) if name in VERBS else found

    def _counted(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def call(key: str, *arguments: Any, **named: Any) -> Any:
            if len(self.requests) >= self.limit:
                raise Killed
            self.requests.append((name, key))
            return found(key, *arguments, **named)

        return call

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Requests that change something."""
        return [each for each in self.requests if each[0].startswith(("put", "upload"))]


@contextmanager
def counted(limit: float = float("inf")) -> Iterator[list[CountedStore]]:
    """Let registries that are opened in the block count their requests."""
    opened: list[CountedStore] = []

    def open_counted(
        location: str | os.PathLike[str], *, options: dict[str, Any] | None = None
    ) -> Any:
        opened.append(CountedStore(open_store(location, options=options), limit))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsecops.registry.log_access.open_store", open_counted)
        yield opened
