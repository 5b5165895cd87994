"""Columns of arrays and tables, by the library that holds them.

array, mapping, pandas, polars, Arrow, Hugging Face, zarr → columns that hash their rows

Libraries are recognised by the modules that are loaded; none is imported for data of another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.provenance.content.arrays import ArrayColumn, array_of
from mlsecops.provenance.content.arrow import ArrowColumn
from mlsecops.provenance.content.hub import HubColumn
from mlsecops.provenance.content.integers import WideIntegers
from mlsecops.provenance.content.rows import Column
from mlsecops.provenance.content.sparse import sparse_column
from mlsecops.provenance.content.stored import stored_columns

WHOLE_ARRAY: Final = "array"
"""Name of the column of an array or of a series without a name."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a data set.

    Attributes:
        columns: The columns in order.
        is_table: Whether their names and order are content: those of a table, not of an array.
        of_one_length: Whether they must have one number of rows.
        attributes: Further content in values for JSON, by name; empty if there is none.
    """

    columns: Sequence[Column]
    is_table: bool = True
    of_one_length: bool = True
    attributes: Mapping[str, Any] | None = None


def columns_of(data: Any, name: str) -> Columns | None:
    """The columns of an array or table; None for data of another kind.

    Raises:
        UsageError: A column has no canonical content.
    """
    try:
        return _columns(data, name)
    except (MLSecOpsError, MemoryError):
        raise
    except Exception as error:  # each library raises errors of its own
        raise UsageError(
            f"data set {name!r} cannot be read as a table: {type(error).__name__}: {error}"
        ) from error


def _columns(data: Any, name: str) -> Columns | None:
    single = _single(data)
    if single is not None:
        return single
    stored = stored_columns(data)
    if stored is not None:
        columns, attributes = stored
        group = not hasattr(data, "shape")
        return Columns(columns, is_table=group, of_one_length=False, attributes=attributes)
    if isinstance(data, Mapping):
        return Columns([_mapped(key, values) for key, values in data.items()])
    if _is_a("datasets", "Dataset", data):
        return Columns([HubColumn(key, data) for key in data.column_names])
    if _is_a("pandas", "DataFrame", data):
        return Columns(_pandas_columns(data, name))
    if _is_a("polars", "DataFrame", data):
        return Columns([_polars_column(key, data[key]) for key in data.columns])
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__") or _is_arrow(data):
        return _arrow_columns(data, name)
    return None


def _single(data: Any) -> Columns | None:
    """An array, a structured array, a sparse matrix or a series."""
    sparse = sparse_column(WHOLE_ARRAY, data)
    if sparse is not None:
        return Columns([sparse], is_table=False)
    array = array_of(data, column=WHOLE_ARRAY)
    if array is not None and array.dtype.names is not None:
        return Columns([_array_column(each, array[each]) for each in array.dtype.names])
    if array is not None:
        return Columns([_array_column(WHOLE_ARRAY, array)], is_table=False)
    for library, make in (("pandas", _pandas_column), ("polars", _polars_column)):
        if _is_a(library, "Series", data):
            if library == "pandas":
                _require_plain_index(data.index, str(data.name or WHOLE_ARRAY))
            named = data.name is not None and data.name != ""
            column = make(str(data.name) if named else WHOLE_ARRAY, data)
            return Columns([column], is_table=named)
    return None


def _is_a(library: str, kind: str, data: Any) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(data, getattr(module, kind, ()))


def _is_arrow(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pyarrow"


def _array_column(key: str, array: Any) -> Column:
    if array.ndim == 0:
        raise UsageError(f"column {key!r}: expected rows, got a single value")
    if array.dtype.kind == "O":
        return ArrowColumn(key, _inferred(key, array))
    return ArrayColumn(key, array)


def _inferred(key: str, values: Any) -> Any:
    arrow = require("pyarrow")
    try:
        return arrow.array(values, from_pandas=True)
    except (arrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"column {key!r}: expected Python objects of one plain type ({error}); "
            "convert it to numbers, text or dates first"
        ) from error


def _mapped(key: object, values: Any) -> Column:
    if not isinstance(key, str):
        raise UsageError(f"column {key!r}: expected its name to be text")
    sparse = sparse_column(key, values)
    if sparse is not None:
        return sparse
    array = array_of(values, column=key)
    if array is not None:
        return _array_column(key, array)
    if _is_a("pandas", "Series", values):
        _require_plain_index(values.index, key)
        return _pandas_column(key, values)
    if _is_a("polars", "Series", values):
        return _polars_column(key, values)
    if _is_arrow(values) or hasattr(values, "__arrow_c_array__"):
        return ArrowColumn(key, values)
    raise UsageError(
        f"column {key!r} is a {type(values).__name__}: expected a numpy or Arrow array"
    )


def _pandas_columns(frame: Any, name: str) -> list[Column]:
    _require_plain_index(frame.index, name)
    keys = [str(key) for key in frame.columns]
    _require_unique(keys, name)
    return [_pandas_column(key, frame.iloc[:, at]) for at, key in enumerate(keys)]


def _pandas_column(key: str, series: Any) -> Column:
    numpy, pandas = sys.modules["numpy"], sys.modules["pandas"]  # pandas has imported it
    if isinstance(series.dtype, (numpy.dtype, pandas.SparseDtype)):
        return _array_column(key, series.to_numpy())
    return ArrowColumn(key, _inferred(key, series))


def _require_plain_index(index: Any, name: str) -> None:
    """Refuse an index with data, which would not be hashed."""
    if index.nlevels > 1 or index.name is not None or index.dtype.kind not in "iu":
        raise UsageError(
            f"data set {name!r} has an index that holds data ({index.name or index.dtype}): "
            "make it a column with reset_index(), or drop it with reset_index(drop=True)"
        )


def _polars_column(key: str, series: Any) -> Column:
    polars = sys.modules["polars"]
    if _holds_objects(series.dtype, polars):
        raise UsageError(
            f"column {key!r}: expected Python objects of one plain type, got polars' {series.dtype}"
            ", whose content is unknown; convert it to numbers, text or dates first"
        )
    if str(series.dtype) in {"Int128", "UInt128"}:
        return WideIntegers(key, series)
    try:
        values = require("pyarrow").table(series.alias("c").to_frame()).column(0)
    except MLSecOpsError:
        raise
    except Exception as error:  # polars and Arrow raise errors of their own
        raise UsageError(
            f"column {key!r} cannot be hashed (polars type {series.dtype}): {error}; "
            "convert it first"
        ) from error
    return ArrowColumn(key, values)


def _holds_objects(dtype: Any, polars: Any) -> bool:
    inner = [field.dtype for field in getattr(dtype, "fields", ())]
    inner += [each for each in (getattr(dtype, "inner", None),) if each is not None]
    return dtype == polars.Object or any(_holds_objects(each, polars) for each in inner)


def _arrow_columns(data: Any, name: str) -> Columns:
    arrow = require("pyarrow")
    if isinstance(data, (arrow.Array, arrow.ChunkedArray)):
        return Columns([ArrowColumn(WHOLE_ARRAY, data)], is_table=False)
    try:
        table = arrow.table(data)
    except (arrow.ArrowInvalid, TypeError, ValueError):
        return Columns([ArrowColumn(WHOLE_ARRAY, arrow.chunked_array(data))], is_table=False)
    _require_unique(table.column_names, name)
    return Columns(
        [ArrowColumn(key, table.column(at)) for at, key in enumerate(table.column_names)]
    )


def _require_unique(keys: Sequence[str], name: str) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UsageError(f"data set {name!r}: column {twice[0]!r} is repeated; rename one")
