"""What a part of an artifact is: a name, a digest, a size; and how two sets of parts differ."""

from __future__ import annotations

from dataclasses import dataclass

from mlsecops._repr import concise_repr
from mlsecops.provenance.digest import Digest


@concise_repr()
@dataclass(frozen=True, slots=True)
class Entry:
    """One named part of an artifact: its digest, and its size in bytes where that is known."""

    name: str
    digest: Digest
    size: int | None = None


@concise_repr()
@dataclass(frozen=True, slots=True)
class Diff:
    """How two manifests differ, by name; falsy when they do not."""

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
