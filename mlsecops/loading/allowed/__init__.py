"""Allowlists of the exact names that model files may refer to, one for each framework.

`scripts/list_globals.py` writes the text files from the installed versions, which their first line
names: installed packages → `*.txt` → `listed` → scanners and readers. `settings.txt` has a line for
each module (`scripts/list_settings_names.py`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["Listed", "listed", "pickle_globals", "settings_names"]

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


@cache
def settings_names() -> frozenset[str]:
    """Every name that settings (YAML, JSON, TOML) may have built by default.

    Examples:
        >>> "torch.optim.Adam" in settings_names(), "torch.optim.adam.os.system" in settings_names()
        (True, False)
    """
    text = Path(__file__).with_name("settings.txt").read_text(encoding="utf-8")
    lines = (line.partition(": ") for line in text.splitlines() if not line.startswith("#"))
    return frozenset(f"{home}.{leaf}" for home, _, leaves in lines for leaf in leaves.split())
