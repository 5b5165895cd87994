"""Consistency check of NumPy dtypes that a pickle rebuilds.

A symbolic `numpy.dtype` comes in; its item size and whether items are objects go out. NumPy trusts
the state that a pickle sets: flags that hide objects turn raw bytes into addresses, and fields
beyond the item read foreign memory.

Source: NumPy `_core/src/multiarray/descriptor.c`, `arraydescr_reduce` and `_setstate`.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any, Final

from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global
from mlsecops.loading.shapes import element_count

NUMPY_DTYPE: Final = "numpy.dtype"
_TEXT: Final = re.compile(r"([<>|=]?)([biufcmMSUVO])([0-9]{1,9})")
_STATE_LENGTHS: Final = (8, 9)  # items; arraydescr_reduce, the ninth is the unit of dates
_NOT_ALIGNED_COPIED: Final = (False, True)
_NO_SIZE: Final = -1  # item size in the state of a dtype of fixed size; arraydescr_reduce
_OBJECT_FLAGS: Final = 0x03  # bits; ndarraytypes.h, NPY_ITEM_REFCOUNT | NPY_LIST_PICKLE
_POINTER_FLAGS: Final = 0x07  # bits; the same | NPY_ITEM_IS_POINTER
MOST_DIMENSIONS: Final = 64  # dimensions; ndarraytypes.h, NPY_MAXDIMS
_CHARACTER: Final = 4  # bytes; UCS-4, NumPy's unicode dtype


@dataclass(frozen=True, slots=True)
class DtypeLayout:
    """Bytes of one item, and whether some of them are addresses of Python objects."""

    size: int
    objects: bool


_IN_PROGRESS: Final = DtypeLayout(-1, objects=False)


def layout(dtype: Any) -> DtypeLayout:
    """Size and kind of a dtype's items.

    Args:
        dtype: Symbolic value of a rebuilt dtype.

    Raises:
        ValueError: It is another value, or its state contradicts its type string.

    Examples:
        >>> layout(CallResult("numpy.dtype", ("<f4", False, True)))
        DtypeLayout(size=4, objects=False)
    """
    if not isinstance(dtype, CallResult) or dtype.name != NUMPY_DTYPE:
        raise ValueError("something that is not a known dtype")
    if dtype.state is None:
        kind, size = _named(dtype)
        return DtypeLayout(size or 0, objects=kind == "O")
    if dtype.known is None:  # fields share inner dtypes, so that a walk without memory is 2^depth
        dtype.known = _IN_PROGRESS
        dtype.known = _layout(dtype)
    _demand(dtype.known is not _IN_PROGRESS)
    known: DtypeLayout = dtype.known
    return known


def _layout(dtype: CallResult) -> DtypeLayout:
    kind, size = _named(dtype)
    state = _state(dtype)
    _, _, base, names, fields, item_size, _, flags = state[:8]
    if kind not in "SUV":
        _demand((base, names, fields) == (None, None, None) and item_size == _NO_SIZE)
        found = DtypeLayout(size or 0, objects=kind == "O")
    else:
        _demand(type(item_size) is int and item_size >= 0 and size in {None, item_size})
        found = DtypeLayout(item_size, objects=_holds_objects(kind, base, fields, item_size))
    _demand(flags & (_OBJECT_FLAGS if found.objects else _POINTER_FLAGS) == 3 * found.objects)
    return found


def _named(dtype: CallResult) -> tuple[str, int | None]:
    kind = dtype.arguments[0] if dtype.arguments else None
    if isinstance(kind, Global) and kind.name in {"numpy.record", "numpy.void"}:
        return "V", None
    match = _TEXT.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        raise ValueError(f"a dtype of unknown kind {kind!r}")
    return match[2], int(match[3]) * (_CHARACTER if match[2] == "U" else 1)


def _state(dtype: CallResult) -> tuple[Any, ...]:
    state = dtype.state
    # Without a copy, the state would change NumPy's own dtype, for the whole process.
    _demand(tuple(map(bool, dtype.arguments[1:])) == _NOT_ALIGNED_COPIED)
    _demand(isinstance(state, tuple) and len(state) in _STATE_LENGTHS)
    _demand(type(state[7]) is int and type(state[5]) is int)
    return tuple(state)


def _holds_objects(kind: str, base: Any, fields: Any, size: int) -> bool:
    if base is None and fields is None:
        return False
    _demand(kind == "V" and (base is None or fields is None))
    return _subarray(base, size) if fields is None else _record(fields, size)


def _subarray(base: Any, size: int) -> bool:
    _demand(isinstance(base, tuple) and len(base) == 2)  # noqa: PLR2004 - dtype and shape
    inner, shape = layout(base[0]), base[1] if isinstance(base[1], tuple) else (base[1],)
    _demand(len(shape) <= MOST_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape))
    _demand(inner.size * element_count(shape, most=size) == size)
    return inner.objects


def _record(fields: Any, size: int) -> bool:
    _demand(isinstance(fields, Container) and fields.whole)
    if fields.known is None:
        fields.known = _fields(fields)
    end, objects = fields.known
    _demand(end <= size)
    return bool(objects)


def _fields(fields: Container) -> tuple[int, bool]:
    """End of the last field, and whether one holds objects."""
    spans: set[tuple[int, int, bool]] = set()
    for value in fields.items.values():
        _demand(isinstance(value, tuple) and len(value) in {2, 3} and type(value[1]) is int)
        inner = layout(value[0])
        _demand(value[1] >= 0)
        spans.add((value[1], value[1] + inner.size, inner.objects))
    objects = any(span[2] for span in spans)
    if objects:
        ordered = sorted(spans)
        _demand(all(a[1] <= b[0] for a, b in itertools.pairwise(ordered)))
    return max((span[1] for span in spans), default=0), objects


def _demand(holds: bool) -> None:  # noqa: FBT001 - a condition, like assert's
    if not holds:
        raise ValueError("a dtype whose state contradicts its type string")
