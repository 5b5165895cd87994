"""Entries of a manifest (name, digest, size), as JSON values, and the difference of two sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsecops._choices import of_type, shown
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.provenance.digest import Digest


@concise_repr()
@dataclass(frozen=True, slots=True)
class Entry:
    """Named part of an artifact.

    Attributes:
        name: Relative POSIX path, or `column[start:stop]` of a data set.
        digest: Digest of its bytes.
        size: Bytes, or None if unknown.
        type: Type of the values of a column, as its digest covers it (`"<f8"`, `"string"`); None
            for files and where it is unknown. It does not make entries differ: their digests do.
    """

    name: str
    digest: Digest
    size: int | None = None
    type: str | None = field(default=None, compare=False)


@concise_repr()
@dataclass(frozen=True, slots=True)
class Diff:
    """Difference of two manifests, by name; falsy if there is none.

    Examples:
        >>> str(Diff(added=("b.txt",), changed=("a.txt",)))
        "changed 'a.txt'; added 'b.txt'"
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        parts = (("changed", self.changed), ("added", self.added), ("removed", self.removed))
        return (
            "; ".join(f"{word} {_some(names)}" for word, names in parts if names) or "no difference"
        )


def entry_values(entry: Entry) -> dict[str, Any]:
    """Plain values of an entry for JSON."""
    value = {"name": entry.name, "digest": str(entry.digest), "size": entry.size}
    return value if entry.type is None else {**value, "type": entry.type}


def read_entry(item: Mapping[str, Any]) -> Entry:
    """The entry of such values.

    Raises:
        UsageError: A value is of another kind.
        KeyError: One is missing.
    """
    size, kind = item["size"], item.get("type")
    if size is not None and (type(size) is not int or size < 0):
        raise UsageError(f"size: expected a whole number of bytes, got {shown(size)}")
    return Entry(
        of_type("name", item["name"], str, "text"),
        Digest.parse(item["digest"]),
        size,
        None if kind is None else of_type("type", kind, str, "text"),
    )


def read_texts(what: str, value: object) -> tuple[str, ...]:
    """The texts of a list of JSON.

    Raises:
        UsageError: It is no list of texts.
    """
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise UsageError(f"{what}: expected a list of texts, got {shown(value)}")


def _some(names: tuple[str, ...], *, most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
