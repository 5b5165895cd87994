"""Canonical bytes of numpy arrays, independent of their layout in memory.

    rows of an array → header line (column, dtype, shape) + values, little-endian, in row order

Text and missing dates are encoded as in `arrow`, so that an array and an Arrow column of the same
values agree. A NaN has one pattern of bits: libraries swap its sign and payload. numpy is not
imported here: a caller with an array has imported it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.content.bits import BitArray, bits_of, tensor_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

Update = Callable[[Any], object]

_TENSORS: Final = frozenset({"torch", "tensorflow", "jax", "jaxlib"})
_WIDEST: Final = {"f": 8, "c": 16}


@dataclass(frozen=True, slots=True)
class ArrayColumn:
    """Column of a data set in a numpy array of shape `(rows, …)`."""

    name: str
    values: NDArray[Any] | BitArray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        return write_array(update, self.values[start:stop], column=self.name)


def array_of(value: Any, *, column: str = "") -> NDArray[Any] | BitArray | None:
    """The value as an array, if it is one or a framework's dense tensor; else None.

    Raises:
        UsageError: The tensor of this column has no array.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        array: NDArray[Any] = numpy.asanyarray(value)
        return array
    if type(value).__module__.partition(".")[0] in _TENSORS and hasattr(value, "__array__"):
        return _held(value, numpy, column)
    return None


def _held(tensor: Any, numpy: Any, column: str) -> NDArray[Any] | BitArray:
    try:
        if hasattr(tensor, "detach"):
            tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
            bits = _torch_bits(tensor)
            if bits is not None:
                return bits
        array: NDArray[Any] = numpy.asarray(tensor)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        where = f"column {column!r}: " if column else ""
        raise UsageError(
            f"{where}tensor: expected one that converts to a numpy array: {error}; convert it first"
        ) from error
    return array


def _torch_bits(tensor: Any) -> BitArray | None:
    """Bits of a tensor whose type numpy lacks."""
    torch = sys.modules["torch"]
    try:
        torch.empty(0, dtype=tensor.dtype).numpy()
    except (TypeError, RuntimeError):
        return tensor_bits(tensor, torch)
    return None


def write_array(update: Update, rows: NDArray[Any] | BitArray, *, column: str) -> int:
    """Hash the content of an array; return the number of bytes of its values.

    Raises:
        UsageError: Its type has no canonical content (Python objects, masks, padding).
    """
    bits = rows if isinstance(rows, BitArray) else bits_of(rows)
    if bits is not None:
        update(header(column, bits.kind, bits.shape))
        return _put(update, bits.bits)
    array: NDArray[Any] = rows  # type: ignore[assignment] # bits are done
    _require_plain(array, column)
    if array.dtype.kind in "UOST":
        return _write_text(update, array, column)
    missing = _missing(array)
    if missing is not None:
        update(header(column, _dtype(array), array.shape, nulls=int(missing.sum())))
        update((~missing).tobytes())
        return _put(update, array[~missing])
    update(header(column, _dtype(array), array.shape))
    return _put(update, _one_nan(array))


def _put(update: Update, rows: NDArray[Any]) -> int:
    rows = rows.astype(rows.dtype.newbyteorder("<"), order="C", copy=False)
    update(rows.reshape(-1).view("u1").data if rows.size else b"")
    return int(rows.nbytes)


def _one_nan(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows with each NaN, also as part of a complex number, of the same bits."""
    numpy = sys.modules["numpy"]
    if rows.dtype.kind not in "fc" or not numpy.isnan(rows).any():
        return rows
    rows = rows.astype(rows.dtype.newbyteorder("="), order="C")  # a copy
    floats = rows.reshape(-1).view(f"f{rows.dtype.itemsize // (1 + (rows.dtype.kind == 'c'))}")
    floats[numpy.isnan(floats)] = numpy.nan
    return rows


def header(column: str, dtype: str, shape: Sequence[int], *, nulls: int = 0) -> bytes:
    """Header line of the values: column name, type and shape."""
    value: dict[str, Any] = {"column": column, "dtype": dtype, "shape": list(shape)}
    if nulls:
        value["nulls"] = nulls
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def write_texts(update: Update, values: Sequence[bytes]) -> int:
    """Hash the lengths (64-bit, little-endian) of byte strings, then the strings."""
    update(b"".join(len(value).to_bytes(8, "little") for value in values))
    joined = b"".join(values)
    update(joined)
    return len(joined)


def _require_plain(rows: NDArray[Any], column: str) -> None:
    dtype, reason = rows.dtype, ""
    if dtype.kind == "O" and _is_text(rows):
        return
    if dtype.hasobject and dtype.kind != "T":
        reason = "convert it to a number or a text type first"
    elif dtype.fields is not None or dtype.kind == "V":
        reason = "pass its fields as separate columns"
    elif dtype.itemsize > _WIDEST.get(dtype.kind, dtype.itemsize):
        reason = "its padding is undefined; convert it to a narrower type first"
    elif getattr(rows, "mask", False) is not False and bool(rows.mask.any()):  # type: ignore[attr-defined]
        reason = "it has masked values; fill them first"
    if reason:
        raise UsageError(f"column {column!r} cannot be hashed (dtype {dtype}): {reason}")


def _is_text(rows: NDArray[Any]) -> bool:
    """Whether objects are all text, or all bytes, as TensorFlow hands text out."""
    values = rows.reshape(-1).tolist()
    return bool(values) and any(
        all(isinstance(each, kind) for each in values) for kind in (str, bytes)
    )


def _dtype(rows: NDArray[Any]) -> str:
    return str(rows.dtype.newbyteorder("<").str)


def _missing(rows: NDArray[Any]) -> NDArray[Any] | None:
    if rows.dtype.kind not in "mM":
        return None
    missing: NDArray[Any] = sys.modules["numpy"].isnat(rows)
    return missing if bool(missing.any()) else None


def _write_text(update: Update, rows: NDArray[Any], column: str) -> int:
    values = rows.reshape(-1).tolist()
    present = [value for value in values if isinstance(value, (str, bytes))]
    binary = rows.dtype.kind == "S" or (rows.dtype.kind == "O" and isinstance(values[0], bytes))
    kind = "binary" if binary else "string"
    update(header(column, kind, rows.shape, nulls=len(values) - len(present)))
    if len(present) < len(values):
        update(bytes(isinstance(value, (str, bytes)) for value in values))
    try:
        encoded = [value.encode() if isinstance(value, str) else value for value in present]
    except UnicodeEncodeError as error:
        raise UsageError(
            f"column {column!r}: expected valid Unicode text, got a lone surrogate"
        ) from error
    return write_texts(update, encoded)
