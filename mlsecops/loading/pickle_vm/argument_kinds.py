"""Kinds of a call's arguments, as call contracts compare them.

symbolic arguments → text such as `@numpy.ndarray, (int*), bytes`, at a cost that is bounded for
each call: pickles share values, so that a small file can pass a large one very often.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global

ARRAYS: Final = frozenset(
    {
        "joblib.numpy_pickle.NumpyArrayWrapper",
        *(
            f"numpy.{core}.{name}"
            for core in ("_core", "core")
            for name in ("multiarray._reconstruct", "numeric._frombuffer")
        ),
    }
)
"""Calls whose results are NumPy arrays."""
SCALARS: Final = frozenset({"numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"})
_ALIASES: Final = {
    **dict.fromkeys(ARRAYS, "array"),
    **dict.fromkeys(SCALARS, "scalar"),
    **dict.fromkeys(("_codecs.encode", "builtins.bytes", "builtins.bytearray"), "bytes"),
    "builtins.set": "set",
    "builtins.frozenset": "frozenset",
}
"""Calls whose results are written as opcodes by some protocols, and as calls by others."""
_PLAIN: Final = {
    type(None): "none", bool: "bool", int: "int", float: "float", str: "text", bytes: "bytes",
    bytearray: "bytes",
}  # fmt: skip
_MOST_KINDS: Final = 80  # values of one call; chosen: 64 dimensions and the other arguments
_MOST_NESTED: Final = 2  # tuples in tuples; chosen: as the libraries write
_TORCH_VALUE: Final = re.compile(r"torch\.[a-z][a-z0-9_]*")
_NUMBERS: Final = re.compile(r"\b(int|float|bool|scalar)\b")
_TEXTS: Final = re.compile(r"\b(text|bytes)\b")


def kinds(arguments: Sequence[Any]) -> str:
    """Kinds of symbolic arguments.

    Examples:
        >>> kinds((Global("numpy.ndarray"), (2, 3), b"b"))
        '@numpy.ndarray, (int*), bytes'
    """
    room = [_MOST_KINDS]
    return ", ".join(_kind(value, room, 0) for value in arguments[:_MOST_KINDS])


def kind(value: Any) -> str:
    """Kind of one value.

    Examples:
        >>> kind(Container("builtins.dict"))
        'dict'
    """
    return _kind(value, [_MOST_KINDS], 0)


def coarse(text: str) -> str:
    """Kinds in which numbers are all alike, and so are text and bytes.

    Examples:
        >>> coarse("int, (bool*), text")
        'number, (number*), string'
    """
    return _TEXTS.sub("string", _NUMBERS.sub("number", text))


def _kind(value: Any, room: list[int], depth: int) -> str:
    room[0] -= 1
    if room[0] < 0:
        return "…"
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return plain
    if isinstance(value, tuple):
        return _tuple(value, room, depth)
    if isinstance(value, CallResult):
        return _ALIASES.get(value.name) or f"={value.name}"
    if isinstance(value, Global):
        return "@torch.dtype" if _TORCH_VALUE.fullmatch(value.name) else f"@{value.name}"
    return value.name.removeprefix("builtins.") if isinstance(value, Container) else "?"


def _tuple(value: tuple[Any, ...], room: list[int], depth: int) -> str:
    if depth >= _MOST_NESTED or len(value) > room[0]:
        return "tuple"
    if not value:
        return "(int*)"  # a shape without dimensions is a shape
    each = [_kind(item, room, depth + 1) for item in value]
    if len(set(each)) == 1:
        each = [each[0] + "*"]
    return f"({', '.join(each)})"
