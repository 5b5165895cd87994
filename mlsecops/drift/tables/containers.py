"""Containers of rows: frames, mappings, records, sparse matrices and tensors.

    pandas, polars, Arrow, dict of columns, records → named_columns → column name → values
    array, tensor, sparse matrix → numbers → float64

Libraries are recognised by their methods; none is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError

_MOST_DENSE: Final = 2**27  # values, 1 GiB; chosen: a sparse matrix must not fill the memory
_DEEPEST: Final = 8  # levels of nesting; chosen: deeper records are documents, no tables
_TEXT: Final = "text"
_NANOSECONDS: Final = 1e9  # in a second
_NUMERIC: Final = "biuf"  # NumPy kinds of numbers

Table = dict[str, Any]


def named_columns(data: Any) -> Table | None:
    """Columns by name, each `(n,)` values of one kind or of objects; None if data has no names.

    Structs become columns `outer.inner`.
    """
    found = _columns(data)
    return None if found is None else _flattened(found, "", 0)


def _columns(data: Any) -> Table | None:
    for kind, read in _READERS:
        if isinstance(data, kind):
            return read(data)
    if hasattr(data, "iloc"):
        return _of_pandas(data)
    if hasattr(data, "get_columns"):
        return {each.name: _of_series(each) for each in data.get_columns()}
    if hasattr(data, "column_names") and hasattr(data, "column"):
        return {name: _of_arrow(data.column(i)) for i, name in enumerate(data.column_names)}
    if hasattr(data, "__arrow_c_stream__") and not hasattr(data, "to_numpy"):
        return _columns(_arrow_table(data))
    record = _record(data)
    return None if record is None else _of_mapping(record)


def _of_array(data: np.ndarray[Any, Any]) -> Table | None:
    if data.dtype.names:
        return {name: data[name] for name in data.dtype.names}
    if data.dtype.kind in "US" and data.ndim <= 1:
        return {_TEXT: np.atleast_1d(data)}
    return None


def _of_mapping(data: Mapping[Any, Any]) -> Table:
    """A dict of columns, or one record of scalars."""
    values = {str(name): each for name, each in data.items()}
    if all(_is_column(each) for each in values.values()) and values:
        columns = {name: _column(each) for name, each in values.items()}
        if len({len(each) for each in columns.values()}) == 1:
            return columns
    if any(_is_column(each) and not isinstance(each, (list, tuple)) for each in values.values()):
        sizes = {name: len(each) for name, each in values.items() if _is_column(each)}
        raise UsageError(f"columns: expected one length, got {sizes}"[:300])
    return {name: [each] for name, each in values.items()}


def _of_pandas(data: Any) -> Table:
    if not hasattr(data, "columns"):  # a Series
        name = data.name
        return {_TEXT if name is None else str(name): _of_series(data)}
    names = [".".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in data.columns]
    if len(set(names)) != len(names):
        raise UsageError("columns: expected distinct names, got one of them twice")
    return {name: _of_series(data.iloc[:, i]) for i, name in enumerate(names)}


def _of_series(series: Any) -> Any:
    """A column of pandas or polars; missing values of numbers become NaN."""
    if hasattr(series, "is_null") and hasattr(series, "to_list"):  # polars
        numeric = series.dtype.is_numeric() and not series.dtype.is_decimal()
        return series.to_numpy() if numeric or series.dtype.is_temporal() else series.to_list()
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    kind = getattr(dtype, "kind", "O")
    if kind in _NUMERIC and hasattr(dtype, "subtype"):  # sparse
        return series.to_numpy()
    if kind in _NUMERIC:
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if kind == "M":
        return series.to_numpy(dtype="datetime64[ns]")
    return series.astype(object).to_numpy()


def _of_arrow(column: Any) -> Any:
    try:
        values = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(False)  # noqa: FBT003 - Arrow's own signature
    except Exception:  # noqa: BLE001 - Arrow raises its own errors for types without an array
        return column.to_pylist()
    return values if values.dtype.kind in _NUMERIC + "M" else column.to_pylist()


def _arrow_table(data: Any) -> Any:
    from mlsecops._extras import require  # noqa: PLC0415 - only such containers need Arrow

    return require("pyarrow").table(data)


def _of_sequence(data: Sequence[Any]) -> Table | None:
    """Records, or texts."""
    if not data:
        return None
    if all(isinstance(each, str) or each is None for each in data):
        return {_TEXT: list(data)}
    records = [_record(each) for each in data]
    known = [each for each in records if each is not None]
    if len(known) != len(records):
        return None
    names = dict.fromkeys(str(name) for each in known for name in each)
    plain = [{str(name): value for name, value in each.items()} for each in known]
    return {name: [each.get(name) for each in plain] for name in names}


_READERS: Final[tuple[tuple[Any, Callable[[Any], Table | None]], ...]] = (
    (str, lambda text: {_TEXT: [text]}),
    (np.ndarray, _of_array),
    (Mapping, _of_mapping),
    ((list, tuple), _of_sequence),
)


def _record(value: Any) -> Mapping[Any, Any] | None:
    """A mapping, dataclass, named tuple or pydantic model as a mapping."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    for method in ("model_dump", "_asdict"):
        dump = getattr(value, method, None)
        if callable(dump):
            found = dump()
            return found if isinstance(found, Mapping) else None
    return None


def _flattened(columns: Table, prefix: str, depth: int) -> Table:
    """Columns without structs, which become columns of their own."""
    flat: Table = {}
    for name, values in columns.items():
        inner = _struct(values)
        if inner is None or depth >= _DEEPEST:
            flat[prefix + name] = values
        else:
            flat |= _flattened(inner, f"{prefix}{name}.", depth + 1)
    return flat


def _struct(values: Any) -> Table | None:
    """Columns of a column of mappings; None for another column."""
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return None
    first = next((each for each in values if each is not None), None)
    if not isinstance(first, Mapping):
        return None
    rows = [each if isinstance(each, Mapping) else {} for each in values]
    names = dict.fromkeys(str(name) for each in rows for name in each)
    plain = [{str(name): value for name, value in each.items()} for each in rows]
    return {name: [each.get(name) for each in plain] for name in names}


def _is_column(value: Any) -> bool:
    if isinstance(value, (str, bytes, Mapping)):
        return False
    return hasattr(value, "__len__") and (
        isinstance(value, (list, tuple)) or getattr(value, "ndim", 1) > 0
    )


def _column(value: Any) -> Any:
    if hasattr(value, "iloc") or hasattr(value, "is_null"):
        return _of_series(value) if hasattr(value, "dtype") else _of_arrow(value)
    if hasattr(value, "detach"):
        return numbers(value)
    return value


def as_dense(data: Any) -> Any:
    """A sparse matrix or a tensor as an array; anything else as it is.

    Raises:
        UsageError: A sparse matrix would take more than 1 GiB.
    """
    if hasattr(data, "detach") and hasattr(data, "cpu"):
        tensor = data.detach()
        wide = tensor.is_floating_point() if hasattr(tensor, "is_floating_point") else False
        return (tensor.double() if wide else tensor).cpu().numpy()
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        size = int(np.prod([int(each) for each in data.shape]))
        if size > _MOST_DENSE:
            raise UsageError(
                f"x: expected a sparse matrix of at most {_MOST_DENSE} values, got {size}; "
                "reduce its columns (TruncatedSVD), or pass fewer rows"
            )
        return data.toarray()
    return data


def numbers(data: Any, argument: str = "x") -> Floats:
    """Numbers as float64, of arrays, sparse matrices, tensors and lists.

    Raises:
        UsageError: They are complex, dates, or no numbers.
    """
    dense = as_dense(data)
    try:
        values = np.asarray(dense)
        if values.dtype.kind not in "cMm":
            return values.astype(np.float64, copy=False)
    except Exception as error:
        raise UsageError(
            f"{argument}: expected numbers, got {type(data).__name__}: {error}"[:400]
        ) from error
    if values.dtype.kind == "m":
        return values.astype("timedelta64[ns]").astype(np.float64) / _NANOSECONDS
    what, advice = (
        ("complex numbers", "pass real and imaginary parts")
        if values.dtype.kind == "c"
        else ("dates", "leave them out, or pass a frame and dates='split'")
    )
    raise UsageError(f"{argument}: expected real numbers, got {what}; {advice}")
