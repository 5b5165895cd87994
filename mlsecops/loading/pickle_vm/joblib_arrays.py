"""How many raw bytes joblib writes between the opcodes of a pickle for one numpy array.

The shadow of a `NumpyArrayWrapper`'s state comes in; the stream goes on behind the array.

Source: joblib `numpy_pickle.py`, `NumpyArrayWrapper.write_array` and `read_array`.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO, Final, Literal

from mlsecops.loading.pickle_vm.dtypes import layout
from mlsecops.loading.pickle_vm.stack import Box

NEWEST_PROTOCOL: Final = 5
_ATTRIBUTES: Final = frozenset({"subclass", "shape", "order", "dtype", "allow_mmap"})
_ALIGNMENT: Final = "numpy_array_alignment_bytes"
"""Absent in files of joblib up to 1.1."""


def raw_array(stream: BinaryIO, state: Any) -> Literal["bytes", "objects"]:
    """Step over an array's bytes.

    Args:
        stream: Positioned behind the wrapper's BUILD.
        state: Shadow of the wrapper's state.

    Returns:
        `"bytes"` when they were stepped over; `"objects"` when another pickle follows instead.

    Raises:
        ValueError: The state does not tell how many there are, or the file ends before.
    """
    # Any other attribute could stand before the reader's own methods.
    if (
        not isinstance(state, Box)
        or not state.whole
        or state.items.keys() - {_ALIGNMENT} != (_ATTRIBUTES)
    ):
        raise ValueError("array wrapper whose state is not exactly what joblib writes")
    item = layout(state.items["dtype"])
    shape = state.items["shape"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("array wrapper without a shape")
    if item.objects:
        return "objects"
    padding = 0
    if state.items.get(_ALIGNMENT) is not None:
        padding = stream.read(1)[0]
    length = padding + item.size * math.prod(shape)
    behind = stream.tell() + length
    end = stream.seek(0, 2)
    if behind > end:
        raise ValueError(f"array of {length} bytes, and the file ends {behind - end} bytes before")
    stream.seek(behind)
    return "bytes"
