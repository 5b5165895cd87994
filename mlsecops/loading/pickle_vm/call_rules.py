"""Argument rules for calls of allowed names.

A target's name and its symbolic arguments come in; an objection, or None, goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE
from mlsecops.loading.pickle_vm.stack import CallResult, Global

ARRAY_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
_CALLED_ONLY: Final = frozenset({ARRAY_WRAPPER, NUMPY_DTYPE})
_FROM_TYPE: Final = "torch._tensor._rebuild_from_type_v2"
_REBUILDERS: Final = "torch._utils._rebuild_"
_ALLOCATES: Final = frozenset({"builtins.bytes", "builtins.bytearray"})


def objection(name: str, arguments: tuple[Any, ...]) -> str | None:
    """Reason to refuse a call of an allowed target, or None.

    Args:
        name: Qualified name of the target.
        arguments: Symbolic values.

    Examples:
        >>> objection("_codecs.encode", ("a", "rot13"))
        "calls _codecs.encode with codec 'rot13', not latin1"
    """
    first = arguments[0] if arguments else None
    if name == "_codecs.encode":
        # Python looks up other codecs by name, which imports a module.
        codec = arguments[1] if len(arguments) > 1 else None
        if codec not in {"latin1", "latin-1"}:
            return f"calls _codecs.encode with codec {codec!r}, not latin1"
    if name == "numpy.object_":
        return "calls numpy.object_, which returns its argument under another name"
    if name == _FROM_TYPE and not (
        isinstance(first, Global) and first.name.startswith(_REBUILDERS)
    ):
        return f"lets {_FROM_TYPE} call a function that does not rebuild a tensor"
    if name in _ALLOCATES and type(first) is int:
        return f"calls {name} with a size: it allocates bytes that are not in the file"
    if any(isinstance(item, CallResult) and item.name == "builtins.range" for item in arguments):
        return f"calls {name} with a range: it allocates items that are not in the file"
    return None


def passed_on(values: Iterable[Any]) -> str | None:
    """Name among values that may be called and not passed on, or None.

    A function that receives it could call it without a trace in the opcodes.
    """
    for value in values:
        if isinstance(value, Global) and value.name in _CALLED_ONLY:
            return value.name
    return None
