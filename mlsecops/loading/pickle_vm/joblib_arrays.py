"""Raw bytes of NumPy arrays between a pickle's opcodes, as joblib writes them.

The symbolic state of a `NumpyArrayWrapper` comes in; the stream is moved behind the array.

Source: joblib `numpy_pickle.py`, `NumpyArrayWrapper.write_array` and `read_array`.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Final, Literal

from mlsecops.loading.pickle_vm.arrays import RawBytes
from mlsecops.loading.pickle_vm.dtypes import MOST_DIMENSIONS, layout
from mlsecops.loading.pickle_vm.stack import Container
from mlsecops.loading.shapes import element_count

_ATTRIBUTES: Final = frozenset({"subclass", "shape", "order", "dtype", "allow_mmap"})
_ALIGNMENT: Final = "numpy_array_alignment_bytes"
"""Absent in files of joblib up to 1.1."""


def raw_array(stream: BinaryIO, state: Any) -> RawBytes | Literal["objects"]:
    """Move a stream behind an array's bytes.

    Args:
        stream: Positioned behind the wrapper's BUILD.
        state: Symbolic state of the wrapper.

    Returns:
        Where the bytes are; `"objects"` where another pickle follows instead.

    Raises:
        ValueError: The state does not give the array's length, or the file ends in the array.
    """
    # Any other attribute could replace the reader's own methods.
    if (
        not isinstance(state, Container)
        or not state.whole
        or state.items.keys() - {_ALIGNMENT} != _ATTRIBUTES
    ):
        raise ValueError("array wrapper whose state is not exactly what joblib writes")
    item = layout(state.items["dtype"])
    shape = state.items["shape"]
    sized = isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS
    if not sized or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("array wrapper without a shape")
    if item.objects:
        return "objects"
    padding = 0 if state.items.get(_ALIGNMENT) is None else stream.read(1)[0]
    start = stream.tell() + padding
    end = stream.seek(0, 2)
    size = item.size * element_count(shape, most=end)
    if start + size > end:
        raise ValueError(f"array that is longer than the {max(0, end - start)} bytes behind it")
    stream.seek(start + size)
    return RawBytes(stream, start, size)
