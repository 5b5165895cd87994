"""Call contracts of the names that a pickle may import: the calls seen in honest files.

`scripts/list_globals.py` learns them from what the installed libraries write: honest pickles →
`calls.txt` → `contracts` → `mlsecops.loading.pickle_vm.call_rules`. Each line is a name and one
use of it:

- `value`: it is referred to and never called.
- `new`: an empty instance is made without arguments, and its state is a dict.
- `call KINDS`, `new KINDS`: it is called, or its instance is made, with arguments of those kinds.
- `state KIND`: the kind of the state that its result gets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["NEW", "VALUE", "contracts"]

VALUE: Final = "value"
NEW: Final = "new"


@cache
def contracts() -> Mapping[str, frozenset[str]]:
    """Uses of each name that a pickle may import by default.

    Examples:
        >>> sorted(contracts()["numpy.ndarray"])
        ['value']
    """
    text = Path(__file__).with_name("calls.txt").read_text(encoding="utf-8")
    found: dict[str, set[str]] = defaultdict(set)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, use = line.partition(" ")
            found[name].add(use)
    return {name: frozenset(uses) for name, uses in found.items()}
