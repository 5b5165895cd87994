"""Entries of a manifest (name, digest, size) and the difference of two sets of entries."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlsecops._repr import concise_repr
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


def _some(names: tuple[str, ...], *, most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
