"""What stands on a pickle's stack while nothing is built: shadows that know their name."""

from __future__ import annotations

import _compat_pickle
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True)
class Global:
    """An imported name that nothing imported (`"?"` where it cannot be told)."""

    name: str


@dataclass(slots=True)
class Made:
    """What a call of a global would give: the callee's name, its arguments, the state set later."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    shared: bool = False
    """Whether something else may refer to it already."""


@dataclass(slots=True)
class Box:
    """A built-in container; only items under text keys are remembered."""

    name: str
    items: dict[str, Any] = field(default_factory=dict)
    whole: bool = True
    """Whether `items` is all that it holds."""


class _Mark:
    """Type of `MARK`."""


MARK: Final = _Mark()
OPAQUE: Final = Made("?")

_DICT_KEYS_KEPT: Final = 4096


def fill(box: Any, items: list[Any]) -> None:
    """Remember named items (a wrapper's state is read from them later)."""
    if len(items) % 2:
        raise ValueError("odd number of items for a mapping")
    if not isinstance(box, Box):
        return
    pairs = list(zip(items[::2], items[1::2], strict=True))
    # A key that is no plain text may still equal one; so may one that is left out.
    box.whole = (
        box.whole
        and len(box.items) + len(pairs) <= _DICT_KEYS_KEPT
        and all(isinstance(key, str) for key, _ in pairs)
    )
    if box.whole:
        box.items.update(pairs)


def pair(argument: str) -> tuple[str, str]:
    """Module and name of a GLOBAL or INST opcode."""
    if argument.count(" ") != 1:
        raise ValueError(f"not a module and a name: {argument!r}")
    module, _, name = argument.partition(" ")
    return module, name


def python3(module: str, name: str) -> tuple[str, str]:
    """What Python 3 imports for a name that Python 2 wrote."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name
