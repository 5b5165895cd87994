"""How many raw bytes joblib writes between the opcodes of a pickle for one numpy array.

The shadow of a ``NumpyArrayWrapper``'s state comes in; the stream goes on behind the array.

Source: joblib ``numpy_pickle.py``, ``NumpyArrayWrapper.write_array`` and ``read_array``.
"""

from __future__ import annotations

import math
import re
from typing import Any, BinaryIO, Final, Literal

from mlsecops.loading.shadows import Box, Made

NEWEST_PROTOCOL: Final = 5
_SIMPLE: Final = re.compile(r"[<>|=]?([biufcSUVmM])(\d+)")
_STATE_ITEMSIZE: Final = 5


def raw_array(stream: BinaryIO, state: Any) -> Literal["bytes", "objects"]:
    """Step over an array's bytes.

    Args:
        stream: Positioned behind the wrapper's BUILD.
        state: Shadow of the wrapper's state.

    Returns:
        ``"bytes"`` when they were stepped over; ``"objects"`` when another pickle follows instead.

    Raises:
        ValueError: The state does not tell how many there are, or the file ends before.
    """
    if not isinstance(state, Box):
        raise ValueError("array wrapper without a state")  # noqa: TRY004 - the walk's own signal
    size = _item_size(state.items.get("dtype"))
    if size is None:
        return "objects"
    shape = state.items.get("shape")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("array wrapper without a shape")
    padding = 0
    if state.items.get("numpy_array_alignment_bytes") is not None:
        padding = stream.read(1)[0]
    length = padding + size * math.prod(shape)
    behind = stream.tell() + length
    end = stream.seek(0, 2)
    if behind > end:
        raise ValueError(f"array of {length} bytes, and the file ends {behind - end} bytes before")
    stream.seek(behind)
    return "bytes"


def _item_size(dtype: Any) -> int | None:
    """Bytes of an item; None for Python objects."""
    if not isinstance(dtype, Made) or dtype.name != "numpy.dtype" or not dtype.arguments:
        raise ValueError("array wrapper whose dtype is not told")
    kind = dtype.arguments[0]
    if kind == "O8":
        return None
    match = _SIMPLE.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        raise ValueError(f"array of unknown dtype {kind!r}")
    if match[1] in "SUV":
        # A record's item size stands in the dtype's state; records with objects are refused.
        state = dtype.state
        if not isinstance(state, tuple) or "O8" in _kinds(state):
            raise ValueError(f"array of dtype {kind!r} whose item size is not told")
        return int(state[_STATE_ITEMSIZE])
    return int(match[2])


def _kinds(value: Any) -> set[str]:
    """Type strings of every dtype that a record's state mentions."""
    if isinstance(value, Made):
        return _kinds(value.arguments) | _kinds(value.state)
    if isinstance(value, Box):
        return set[str]().union(*map(_kinds, value.items.values()))
    if isinstance(value, tuple):
        return set[str]().union(*map(_kinds, value))
    return {value} if isinstance(value, str) else set()
