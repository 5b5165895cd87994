"""Object store with a fault at one request, and locations that a test puts back."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from mlsecops.audit.objects import FolderStore, MemoryStore, ObjectStore, open_store

VERBS = ("get", "get_if_changed", "put_if_absent", "put_if_unchanged", "keys", "stream", "upload")


class Killed(BaseException):
    """The process ends here."""


Fault = Literal["killed", "lost", "repeated"]
"""What happens at a request: the process ends before it; its answer is lost; a client that waited
in vain sends it again, and gets the second answer."""


class CountedStore:
    """A store that notes each request, and has a fault at one of them.

    Args:
        store: The store.
        limit: Number of requests before the fault.
        fault: The fault.
    """

    def __init__(
        self, store: ObjectStore, limit: float = float("inf"), fault: Fault = "killed"
    ) -> None:
        self.store = store
        self.limit = limit
        self.fault = fault
        self.requests: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        return self._counted(name, found) if name in VERBS else found

    def _counted(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def call(key: str, *arguments: Any, **named: Any) -> Any:
            place = len(self.requests)
            if place >= self.limit and self.fault == "killed":
                raise Killed
            self.requests.append((name, key))
            answer = found(key, *arguments, **named)
            if place == self.limit and self.fault == "lost":
                raise OSError(errno.ETIMEDOUT, "no answer", key)
            return found(key, *arguments, **named) if place == self.limit else answer

        return call

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Requests that change something."""
        return [each for each in self.requests if each[0].startswith(("put", "upload"))]


@contextmanager
def counted(limit: float = float("inf"), fault: Fault = "killed") -> Iterator[list[CountedStore]]:
    """Let registries that are opened in the block count their requests."""
    opened: list[CountedStore] = []

    def open_counted(
        location: str | os.PathLike[str], *, options: dict[str, Any] | None = None
    ) -> Any:
        opened.append(CountedStore(open_store(location, options=options), limit, fault))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsecops.registry.log_access.open_store", open_counted)
        yield opened


def objects(location: str) -> dict[str, bytes]:
    """Everything under a location."""
    store = open_store(location)
    return {key: b"".join(store.stream(key)) for key in store.keys("")}


def put_back(location: str, wanted: dict[str, bytes]) -> None:
    """Let a location hold these objects and no others."""
    store = open_store(location)
    if isinstance(store, MemoryStore):
        store._objects.clear()
        store._objects.update(wanted)
    elif isinstance(store, FolderStore):
        shutil.rmtree(store.root)
        for key, data in wanted.items():
            (store.root / key).parent.mkdir(parents=True, exist_ok=True)
            (store.root / key).write_bytes(data)
    else:
        _put_back_in_bucket(location, wanted)


def _put_back_in_bucket(location: str, wanted: dict[str, bytes]) -> None:
    client, parts = pytest.importorskip("boto3").client("s3"), urlsplit(location)
    prefix = parts.path.strip("/") + "/"
    listed = client.list_objects_v2(Bucket=parts.netloc, Prefix=prefix)["Contents"]
    tags = {each["Key"].removeprefix(prefix): each["ETag"].strip('"') for each in listed}
    surplus = [{"Key": prefix + key} for key in tags.keys() - wanted.keys()]
    if surplus:
        client.delete_objects(Bucket=parts.netloc, Delete={"Objects": surplus})
    for key, data in wanted.items():
        if tags.get(key) != hashlib.md5(data, usedforsecurity=False).hexdigest():
            client.put_object(Bucket=parts.netloc, Key=prefix + key, Body=data)
