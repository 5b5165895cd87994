"""Canonical bytes of numpy arrays, independent of their layout in memory.

    rows of an array → header line (column, dtype, shape) + values, little-endian, in row order

Text and missing dates are encoded as in `arrow`, so that an array and an Arrow column of the same
values agree. numpy is not imported here: a caller with an array has imported it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Update = Callable[[Any], object]

_TENSORS: Final = frozenset({"torch", "tensorflow", "jax", "jaxlib"})
_WIDEST: Final = {"f": 8, "c": 16}


@dataclass(frozen=True, slots=True)
class ArrayColumn:
    """Column of a data set in a numpy array of shape `(rows, …)`."""

    name: str
    values: NDArray[Any]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        return write_array(update, self.values[start:stop], column=self.name)


def array_of(value: Any) -> NDArray[Any] | None:
    """The value as a numpy array, if it is one or a framework's tensor; else None."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        array: NDArray[Any] = numpy.asanyarray(value)
        return array
    if type(value).__module__.partition(".")[0] in _TENSORS and hasattr(value, "__array__"):
        return _held(value, numpy)
    return None


def _held(tensor: Any, numpy: Any) -> NDArray[Any]:
    detach = getattr(tensor, "detach", None)
    try:
        array: NDArray[Any] = numpy.asarray(tensor if detach is None else detach().cpu())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"tensor: expected one that converts to a numpy array: {error}") from error
    return array


def write_array(update: Update, rows: NDArray[Any], *, column: str) -> int:
    """Hash the content of an array; return the number of bytes of its values.

    Raises:
        UsageError: Its type has no canonical content (Python objects, masks, padding).
    """
    _require_plain(rows, column)
    if rows.dtype.kind in "UST":
        return _write_text(update, rows, column)
    missing = _missing(rows)
    if missing is not None:
        update(header(column, _dtype(rows), rows.shape, nulls=int(missing.sum())))
        update((~missing).tobytes())
        rows = rows[~missing]
    else:
        update(header(column, _dtype(rows), rows.shape))
    rows = rows.astype(rows.dtype.newbyteorder("<"), order="C", copy=False)
    update(rows.reshape(-1).view("u1").data if rows.size else b"")
    return int(rows.nbytes)


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
    kind = "binary" if rows.dtype.kind == "S" else "string"
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
