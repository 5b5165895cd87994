"""Object store protocol: bytes under keys, written under a condition.

key → get → bytes and tag; bytes, tag → put if unchanged → new tag, or None after another writer
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mlsecops.errors import UsageError

__all__ = ["UNCHANGED", "ObjectStore", "Stored", "require_key"]


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's bytes.

    Attributes:
        data: The bytes.
        tag: Text that changes with them, for `get_if_changed` and `put_if_unchanged`.
    """

    data: bytes
    tag: str


UNCHANGED: Final = Stored(b"", "")
"""Answer of `get_if_changed` where the object still has the tag."""


class ObjectStore(Protocol):
    """A place of objects; each is seen whole or not at all.

    Every method raises `OSError` where the storage cannot be reached, read or written.
    """

    @property
    def where(self) -> str:
        """The location, for messages; it holds no secret."""

    @property
    def streams(self) -> int:
        """Number of reads that are worth being in flight at once."""

    def get(self, key: str, *, most: int) -> Stored | None:
        """An object of at most `most` bytes, or None; a larger one is an `OSError`."""

    def get_if_changed(self, key: str, tag: str, *, most: int) -> Stored | None:
        """As `get`, or `UNCHANGED` where the object still has the tag."""

    def put_if_absent(self, key: str, data: bytes, *, lasting: bool = True) -> str | None:
        """Store an object, and return its tag; None where the key is taken.

        What is not `lasting` survives a power failure if an object that is put later does.
        """

    def put_if_unchanged(
        self, key: str, data: bytes, tag: str, *, lasting: bool = True
    ) -> str | None:
        """Replace an object that has the tag, and return the new one; None where it has not."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys that begin with a text."""

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's bytes in parts; `FileNotFoundError` where there is none."""

    def upload(self, key: str, source: Path) -> None:
        """Store a file of any size, in place of what the key holds."""


def require_key(key: str) -> str:
    """Demand a key that stays in its location.

    Raises:
        UsageError: It is empty, absolute, or has a segment that is empty, `.` or `..`.
    """
    if not {"", ".", ".."}.isdisjoint(key.split("/")) or "\0" in key:
        raise UsageError(f"object key: expected names between '/', got {key[:80]!r}")
    return key
