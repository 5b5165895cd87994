"""Bounded traversal of the objects in a parsed JSON configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import LimitExceeded

_SHOWN: Final = 80  # characters of a key; chosen: enough to find it, whatever its length
_SHOWN_PARTS: Final = 40  # keys of a place; chosen: as above, for deep configurations


@dataclass(frozen=True, slots=True)
class Place:
    """Key path to a value, written out only where a finding shows it.

    Examples:
        >>> str(Place("root") / "a" / 0 / "b")
        'root.a[0].b'
    """

    key: str | int
    parent: Place | None = None

    def __truediv__(self, key: str | int) -> Place:
        return Place(key, self)

    def __str__(self) -> str:
        parts: list[str] = []
        at: Place | None = self
        while at is not None and len(parts) < _SHOWN_PARTS:
            key = at.key
            parts.append(f"[{key}]" if isinstance(key, int) else f".{key[:_SHOWN]}")
            at = at.parent
        return "".join(reversed(parts)).lstrip(".")


def objects(
    value: Any, place: str, *, depth: int, artifact: str
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Every object in a value, with its place.

    The items of an object follow after it; a caller may remove some of them first.

    Args:
        value: The parsed value.
        place: Prefix of the places.
        depth: Nesting levels at most.
        artifact: Name for the message.

    Raises:
        LimitExceeded: It is nested too deeply.

    Examples:
        >>> value = {"a": [{"b": 1}]}
        >>> [str(at) for _, at in objects(value, "root", depth=9, artifact="config.json")]
        ['root', 'root.a[0]']
    """
    pending: list[tuple[Any, Place, int]] = [(value, Place(place), 0)]
    pace = Pace(artifact)
    while pending:
        pace.step()
        item, at, level = pending.pop()
        if level > depth:
            raise LimitExceeded(f"{artifact}: {at}: nested deeper than {depth}")
        if isinstance(item, dict):
            yield item, at
            inner: Any = item.items()
        else:
            inner = enumerate(item) if isinstance(item, list) else ()
        pending += [
            (each, at / key, level + 1) for key, each in inner if isinstance(each, (dict, list))
        ]
