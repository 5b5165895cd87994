"""Allowlists of the exact names that model files may refer to, one for each framework.

`scripts/list_globals.py` writes the text files from the installed versions, which their first line
names: installed packages → `*.txt` → `listed` → scanners and readers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["Listed", "listed", "pickle_globals"]

Listed: TypeAlias = Literal["python", "numpy", "torch", "sklearn", "keras", "tensorflow"]
PICKLE_LISTS: Final[tuple[Listed, ...]] = ("python", "numpy", "torch", "sklearn")


@cache
def listed(name: Listed) -> frozenset[str]:
    """Names of one list, as `module.qualname`.

    Examples:
        >>> "collections.OrderedDict" in listed("python")
        True
    """
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def pickle_globals() -> frozenset[str]:
    """Every name that a pickle may import by default."""
    return frozenset[str]().union(*(listed(name) for name in PICKLE_LISTS))
