"""Which calls of allowed names are refused all the same, for what they are called with.

A target's name and the shadows of its arguments come in; an objection, or None, goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE
from mlsecops.loading.pickle_vm.stack import Global, Made

ARRAY_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
_CALLED_ONLY: Final = frozenset({ARRAY_WRAPPER, NUMPY_DTYPE})
_FROM_TYPE: Final = "torch._tensor._rebuild_from_type_v2"
_REBUILDERS: Final = "torch._utils._rebuild_"
_ALLOCATES: Final = frozenset({"builtins.bytes", "builtins.bytearray"})


def objection(name: str, arguments: tuple[Any, ...]) -> str | None:
    """Why a call is refused though its target is allowed.

    Args:
        name: Qualified name of the target.
        arguments: Shadows.
    """
    first = arguments[0] if arguments else None
    if name == "_codecs.encode":
        # Another codec would be looked up by name, which imports a module.
        codec = arguments[1] if len(arguments) > 1 else None
        if codec not in {"latin1", "latin-1"}:
            return f"calls _codecs.encode with codec {codec!r}, not latin1"
    if name == "numpy.object_":
        return "calls numpy.object_, which gives its argument back under another name"
    if name == _FROM_TYPE and not (
        isinstance(first, Global) and first.name.startswith(_REBUILDERS)
    ):
        return f"lets {_FROM_TYPE} call something that rebuilds no tensor"
    if name in _ALLOCATES and type(first) is int:
        return f"calls {name} with a size: memory is taken for bytes that are not there"
    if any(isinstance(item, Made) and item.name == "builtins.range" for item in arguments):
        return f"calls {name} with a range: memory is taken for items that are not there"
    return None


def passed_on(values: Iterable[Any]) -> str | None:
    """A name among values that may be called and nothing else.

    Whoever is handed it could make one without the walk knowing what it is.
    """
    for value in values:
        if isinstance(value, Global) and value.name in _CALLED_ONLY:
            return value.name
    return None
