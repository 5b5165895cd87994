"""Symbolic values on a pickle's stack: names and arguments in place of objects."""

from __future__ import annotations

import _compat_pickle
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True)
class Global:
    """An imported name, not imported (`"?"` for an unknown one)."""

    name: str


@dataclass(slots=True)
class CallResult:
    """Result of a call: the callee's name, its arguments, and the state set later."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    shared: bool = False
    """Whether another value may refer to it."""
    known: Any = None
    """Result of a check, kept so that references to one value are not checked again and again."""


@dataclass(slots=True)
class Container:
    """A built-in container: items under text keys, and those of a list that were built."""

    name: str
    items: dict[str, Any] = field(default_factory=dict)
    whole: bool = True
    """Whether `items` has all its items."""
    members: list[Any] = field(default_factory=list)
    """Results of calls and inner lists among a list's items."""
    length: int = 0
    """Number of a list's items."""
    known: Any = None
    """Result of a check; the container may not change afterwards."""


MARK: Final = object()
OPAQUE: Final = CallResult("?")
_DICT_KEYS_KEPT: Final = 4096  # keys; chosen: the state of joblib's array wrapper has six


def fill(target: Any, items: list[Any]) -> None:
    """Keep the named items of a container."""
    if len(items) % 2:
        raise ValueError("odd number of items for a mapping")
    if not isinstance(target, Container):
        return
    _require_open(target)
    pairs = list(zip(items[::2], items[1::2], strict=True))
    # A key that is not plain text may equal one that is; so may one that is left out.
    target.whole = (
        target.whole
        and len(target.items) + len(pairs) <= _DICT_KEYS_KEPT
        and all(isinstance(key, str) for key, _ in pairs)
    )
    if target.whole:
        target.items.update(pairs)


def extend(target: Any, items: list[Any]) -> None:
    """Keep the built items of a list."""
    if isinstance(target, Container):
        _require_open(target)
        target.length += len(items)
        target.members += [item for item in items if isinstance(item, (CallResult, Container))]


def _require_open(target: Container) -> None:
    if target.known is not None:
        raise ValueError("a container that changes after it was used")


def split_name(argument: str) -> tuple[str, str]:
    """Module and name of a GLOBAL or INST opcode.

    Examples:
        >>> split_name("collections OrderedDict")
        ('collections', 'OrderedDict')
    """
    module, space, name = argument.partition(" ")
    if not space or " " in name:
        raise ValueError(f"not a module and a name: {argument!r}")
    return module, name


def python3_name(module: str, name: str) -> tuple[str, str]:
    """Module and name that Python 3 imports for those of Python 2."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name
