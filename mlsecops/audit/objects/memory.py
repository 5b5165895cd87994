"""Object store in the memory of a process, for tests.

name → dictionary that all stores of the name in this process share
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.audit.objects.protocol import UNCHANGED, Stored, require_key

__all__ = ["MemoryStore"]

_PLACES: Final[defaultdict[str, dict[str, bytes]]] = defaultdict(dict)
_LOCK: Final = threading.Lock()


@concise_repr("where")
class MemoryStore:
    """Objects of this process.

    Args:
        name: Name of the location; stores of one name have the same objects.
    """

    streams = 1

    def __init__(self, name: str) -> None:
        self.where = f"memory://{name}"
        self._objects = _PLACES[name]

    def get(self, key: str, *, most: int) -> Stored | None:
        """An object."""
        data = self._objects.get(key)
        if data is not None and len(data) > most:
            raise OSError(f"{self.where}/{key}: expected at most {most} bytes, got {len(data)}")
        return None if data is None else Stored(data, _tag(data))

    def get_if_changed(self, key: str, tag: str, *, most: int) -> Stored | None:
        """An object, unless it has the tag."""
        stored = self.get(key, most=most)
        return UNCHANGED if stored is not None and stored.tag == tag else stored

    def put_if_absent(
        self,
        key: str,
        data: bytes,
        *,
        lasting: bool = True,  # noqa: ARG002 - as the protocol
    ) -> str | None:
        """Store an object under a free key."""
        with _LOCK:
            if require_key(key) in self._objects:
                return None
            self._objects[key] = bytes(data)
        return _tag(data)

    def put_if_unchanged(
        self,
        key: str,
        data: bytes,
        tag: str,
        *,
        lasting: bool = True,  # noqa: ARG002 - as the protocol
    ) -> str | None:
        """Replace an object that has the tag."""
        with _LOCK:
            known = self._objects.get(require_key(key))
            if known is None or _tag(known) != tag:
                return None
            self._objects[key] = bytes(data)
        return _tag(data)

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with a text."""
        return iter([key for key in sorted(self._objects) if key.startswith(prefix)])

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes."""
        data = self._objects.get(key)
        if data is None:
            raise FileNotFoundError(f"{self.where}/{key}: no such object")
        return iter([data])

    def upload(self, key: str, source: Path) -> None:
        """Store a file."""
        data = source.read_bytes()
        with _LOCK:
            self._objects[require_key(key)] = data


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
