"""Objects of a bill of materials, with their paths.

parsed bill → every object with its path, without recursion → components
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops.reports.redaction import shown

MAX_DEPTH: Final = 64  # levels; chosen: a deeper bill is refused unread


@dataclass(frozen=True, slots=True)
class BomNode:
    """An object of the bill and its path (`components[0].modelCard`)."""

    path: str
    value: dict[str, Any]


def walk(value: Any, path: str = "") -> Iterator[BomNode]:
    """Every object in parsed JSON with its path, down to `MAX_DEPTH`, without recursion."""
    stack: list[tuple[str, Any, int]] = [(path, value, 0)]
    while stack:
        here, current, depth = stack.pop()
        if isinstance(current, dict):
            yield BomNode(here, current)
            named = [(shown(key), child) for key, child in current.items()]
            children = [(f"{here}.{key}" if here else key, child) for key, child in named]
        elif isinstance(current, list):
            children = [(f"{here}[{index}]", child) for index, child in enumerate(current)]
        else:
            continue
        if depth < MAX_DEPTH:
            stack.extend((place, child, depth + 1) for place, child in reversed(children))


def is_component(node: BomNode) -> bool:
    """Whether an object of the bill is a component, by its path."""
    holder = node.path.rpartition("[")[0] or node.path
    return holder.endswith("components") or node.path == "metadata.component"


def called(value: Mapping[str, Any]) -> str:
    """Name of a component, for a message."""
    return shown(value.get("name") or value.get("bom-ref") or "(no name)")


def model_digests(bom: Mapping[str, Any]) -> frozenset[str]:
    """Hex digests of the first machine-learning model of a bill; empty without one."""
    for node in walk(bom):
        if is_component(node) and node.value.get("type") == "machine-learning-model":
            listed = node.value.get("hashes")
            rows = listed if isinstance(listed, list) else []
            return frozenset(
                str(row.get("content")).lower() for row in rows if isinstance(row, dict)
            )
    return frozenset()
