"""Bounded traversal of the objects in a parsed JSON configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlsecops.errors import LimitExceeded


def objects(
    value: Any, place: str, *, depth: int, artifact: str
) -> Iterator[tuple[dict[str, Any], str]]:
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
        >>> [at for _, at in objects(value, "root", depth=9, artifact="config.json")]
        ['root', 'root.a[0]']
    """
    pending = [(value, place, 0)]
    while pending:
        item, at, level = pending.pop()
        if level > depth:
            raise LimitExceeded(f"{artifact}: {at}: nested deeper than {depth}")
        if isinstance(item, dict):
            yield item, at
            pending += [(inner, f"{at}.{key}", level + 1) for key, inner in item.items()]
        elif isinstance(item, list):
            pending += [(inner, f"{at}[{n}]", level + 1) for n, inner in enumerate(item)]
