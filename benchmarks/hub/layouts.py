"""Layouts that the hub's libraries write: a builder and a reader of each, with random weights.

`LAYOUTS`: name → Layout; `build` writes a folder, `read` gives numbers that a held folder must give
too. No weights are downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way in which a model lies on disk.

    Attributes:
        name: Name in the table of docs/layouts.md.
        writer: What writes it.
        build: Writes it into an empty folder.
        read: Reads it from a folder; None where it is refused.
        outcome: `"held"`, `"held unchecked"` or `"refused"`.
    """

    name: str
    writer: str
    build: Callable[[Path], None]
    read: Callable[[Path], Any] | None
    outcome: str = "held"


LAYOUTS: Final[dict[str, Layout]] = {}


def layout(
    name: str,
    writer: str,
    read: Callable[[Path], Any] | None = None,
    outcome: str = "held",
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register the decorated builder."""

    def register(build: Callable[[Path], None]) -> Callable[[Path], None]:
        LAYOUTS[name] = Layout(name=name, writer=writer, build=build, read=read, outcome=outcome)
        return build

    return register


def weights(model: Any) -> dict[str, Any]:
    """Numbers of a torch module, as copies."""
    return {
        name: value.detach().float().numpy().copy() for name, value in model.state_dict().items()
    }


def same(left: Any, right: Any) -> bool:
    """Whether two results hold the same numbers and texts."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "detach"):
        left, right = left.detach().float().numpy(), right.detach().float().numpy()
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(left == right)
