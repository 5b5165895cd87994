"""NumPy arrays that a pickle rebuilds, as far as the file holds their bytes.

symbolic value → shape, dtype and bytes → the numbers, without unpickling

Source: NumPy `_core/src/multiarray/methods.c`, `array_reduce` and `array_setstate`;
`_core/numeric.py`, `_frombuffer`; joblib `numpy_pickle.py`, `NumpyArrayWrapper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from mlsecops.loading.pickle_vm.argument_kinds import ARRAYS
from mlsecops.loading.pickle_vm.dtypes import MOST_DIMENSIONS, layout
from mlsecops.loading.pickle_vm.stack import CallResult, Container
from mlsecops.loading.shapes import element_count

_STATE: Final = 5  # items; array_reduce: version, shape, dtype, Fortran order, bytes or list
_MASKED_STATE: Final = 7  # items; numpy.ma.core, MaskedArray.__getstate__
_PLAIN_KINDS: Final = frozenset("biufcmMSUV?")
_ANY_BYTES: Final = 16 << 20  # bytes; chosen: arrays of that size are examined in 10 ms
_TIMES: Final = 16  # chosen: an honest file uses an array in one or two states


@dataclass(frozen=True, slots=True)
class RawBytes:
    """Part of a stream."""

    stream: BinaryIO
    start: int
    size: int

    def read(self) -> bytes:
        """The bytes; the stream's position stays."""
        position = self.stream.tell()
        self.stream.seek(self.start)
        data = self.stream.read(self.size)
        self.stream.seek(position)
        return data


@dataclass(frozen=True, slots=True)
class SymbolicArray:
    """An array that is not built yet.

    Attributes:
        shape: Dimensions.
        dtype: Symbolic dtype.
        fortran: Whether the first dimension varies fastest.
        data: Its bytes or where they are; the items' container for an array of objects.
    """

    shape: tuple[int, ...]
    dtype: CallResult
    fortran: bool
    data: Any


def array(value: Any) -> SymbolicArray | None:
    """Shape, dtype and bytes of a rebuilt array; None for anything else."""
    if not isinstance(value, CallResult) or value.name not in ARRAYS:
        return None
    if value.name.endswith("._frombuffer"):
        data, dtype, shape, order = value.arguments
        parts = shape, dtype, order == "F", data
    elif isinstance(value.state, Container):
        items = value.state.items
        parts = items["shape"], items["dtype"], items["order"] == "F", value.known
    elif isinstance(value.state, tuple) and len(value.state) == _STATE:
        parts = value.state[1:]
    else:
        return None
    return _sized(*parts)


def _sized(shape: Any, dtype: Any, fortran: Any, data: Any) -> SymbolicArray | None:
    sized = isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS
    if not sized or not all(type(n) is int and n >= 0 for n in shape):
        return None
    return SymbolicArray(shape, dtype, bool(fortran), data)


def require_state(value: CallResult) -> None:
    """Demand that the state of an array has as many bytes as its shape says.

    Raises:
        ValueError: It has not.
    """
    if isinstance(value.state, Container):
        return  # joblib's; `joblib_arrays` has looked at it
    state = value.state
    if not isinstance(state, tuple) or len(state) not in {_STATE, _MASKED_STATE}:
        raise ValueError("an array whose state is not what NumPy writes")
    found = _sized(*state[1:_STATE])
    if found is None:
        raise ValueError("an array without a shape")
    _require_size(found)


def require_buffer(value: CallResult) -> None:
    """Demand that a buffer has as many bytes as the shape of its array says.

    Raises:
        ValueError: It has not, or its items are objects.
    """
    found = array(value)
    if found is None or layout(found.dtype).objects:
        raise ValueError("an array over a buffer whose items are objects or without a shape")
    _require_size(found)


def _require_size(found: SymbolicArray) -> None:
    item = layout(found.dtype)
    data = found.data
    if item.objects:
        stored = data.length if isinstance(data, Container) else 0
        if not isinstance(data, Container) or element_count(found.shape, most=stored) != stored:
            raise ValueError("an array of objects whose shape is not the number of its objects")
        data.known = data.known or True
        return
    stored = byte_count(data)
    if item.size * element_count(found.shape, most=stored) != stored:
        raise ValueError(f"an array whose shape takes another size than its {stored} bytes")


def byte_count(data: Any) -> int:
    """Number of bytes of a symbolic bytes object.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(data, RawBytes):
        return data.size
    if isinstance(data, CallResult) and data.name == "_codecs.encode":
        data = data.arguments[0]  # latin1: a byte for each character
    elif isinstance(data, CallResult) and data.name in {"builtins.bytes", "builtins.bytearray"}:
        data = data.arguments[0] if data.arguments else b""
        return byte_count(data)
    if not isinstance(data, (bytes, bytearray, str)):
        raise ValueError("an array without its bytes")  # noqa: TRY004 - a file, not a caller
    return len(data)


def _bytes(data: Any) -> bytes:
    if isinstance(data, RawBytes):
        return data.read()
    if isinstance(data, CallResult):
        return _bytes(data.arguments[0] if data.arguments else b"")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


class ArrayReader:
    """Reader of rebuilt arrays' numbers, within a budget for the whole file."""

    def __init__(self) -> None:
        self.read = 0
        self.position = 0

    def numbers(self, value: Any, *, fields: tuple[str, ...] = ()) -> Any:
        """A NumPy array with the numbers of a symbolic one.

        Args:
            value: Symbolic array.
            fields: Names that its records must have; none for plain numbers.

        Raises:
            ValueError: It is no array, or its bytes are not in the file, or so many arrays are
                shared that reading them takes much longer than reading the file.
        """
        import numpy as np  # noqa: PLC0415 - a scan of other values needs no numpy

        found = array(value)
        if found is None:
            raise ValueError("something that is not an array of numbers")
        item = layout(found.dtype)
        stored = byte_count(found.data)
        self.read += stored
        if self.read > _TIMES * self.position + _ANY_BYTES:
            raise ValueError("arrays that are used over and over again")
        if item.objects or item.size * element_count(found.shape, most=stored) != stored:
            raise ValueError("an array whose bytes are not in the file")
        kind = _numpy_dtype(np, found.dtype)
        if any(name not in (kind.names or ()) for name in fields):
            raise ValueError(f"records without the fields {', '.join(fields)}")
        flat = np.frombuffer(_bytes(found.data), kind)
        return flat.reshape(found.shape, order="F" if found.fortran else "C")


def _numpy_dtype(np: Any, dtype: CallResult) -> Any:
    """NumPy's own dtype, without objects, for one that `layout` has checked."""
    state = dtype.state
    kind = dtype.arguments[0]
    if state is None:
        return np.dtype(kind)
    order, fields = state[1], state[4]
    if fields is None:
        if state[2] is not None or not isinstance(kind, str) or kind[0] not in _PLAIN_KINDS:
            raise ValueError("an array of numbers of an unknown kind")
        return np.dtype(kind).newbyteorder(order if order in {"<", ">"} else "=")
    names = [name for name in state[3] if isinstance(name, str)]
    inner = {name: fields.items[name] for name in names}
    if any(field[0].state and field[0].state[4] is not None for field in inner.values()):
        raise ValueError("records of records")
    return np.dtype(
        {
            "names": names,
            "formats": [_numpy_dtype(np, field[0]) for field in inner.values()],
            "offsets": [field[1] for field in inner.values()],
            "itemsize": state[5],
        }
    )
