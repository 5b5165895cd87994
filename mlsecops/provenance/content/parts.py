"""Parts of a data set: runs of rows of each column, for every supported library.

    data → entries `column[start:stop]`, and for a table `[columns]` with the names in order

Rows can be cut as in an earlier manifest, so that rows appended since are separate parts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.provenance.content.arrays import ArrayColumn, array_of
from mlsecops.provenance.content.arrow import ArrowColumn
from mlsecops.provenance.content.rows import COLUMNS, part_name
from mlsecops.provenance.content.samples import is_stream, sample_entries
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.entry import Entry

ROWS_PER_ENTRY: Final = 65_536  # rows; chosen: a mismatch names at most this many


class Column(Protocol):
    """Column of a data set."""

    @property
    def name(self) -> str:
        """Name of the column."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def write(self, update: Callable[[Any], object], start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""


def content_entries(
    data: Any, *, name: str, algorithm: str, stops: Sequence[int] = ()
) -> tuple[Entry, ...]:
    """Entries of an array, a table or a stream of samples, sorted by name.

    `stops` are row numbers to cut at first, ascending, as in an earlier manifest.

    Raises:
        UsageError: The data has no canonical content, or columns differ in length.
    """
    if is_stream(data):
        cut = _Cuts(stops)
        return _sorted(sample_entries(data, algorithm=algorithm, stop_after=cut.after))
    columns, is_table = _columns(data, name)
    lengths = {column.rows for column in columns}
    if len(lengths) > 1:
        raise UsageError(
            f"data set {name!r}: expected columns of one length, got {sorted(lengths)}"
        )
    entries = [entry for column in columns for entry in _entries(column, algorithm, stops)]
    if is_table:
        names = json.dumps([column.name for column in columns]).encode()
        entries.append(Entry(COLUMNS, Digest.of(names, algorithm=algorithm), len(names)))
    return _sorted(entries)


class _Cuts:
    """Ends of runs of rows: at given row numbers, then every `ROWS_PER_ENTRY` rows."""

    def __init__(self, stops: Sequence[int]) -> None:
        self._stops = sorted(set(stops))

    def after(self, start: int) -> int:
        return next((stop for stop in self._stops if stop > start), start + ROWS_PER_ENTRY)


def _entries(column: Column, algorithm: str, stops: Sequence[int]) -> Iterator[Entry]:
    cuts, start, first = _Cuts(stops), 0, True
    while first or start < column.rows:
        stop = min(cuts.after(start), column.rows)
        running = new_hash(algorithm)
        size = column.write(running.update, start, stop)
        yield Entry(part_name(column.name, start, stop), Digest(algorithm, running.digest()), size)
        start, first = stop, False


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _columns(data: Any, name: str) -> tuple[list[Column], bool]:
    array = array_of(data)
    if array is not None and array.dtype.names is None:
        return [_array_column("array", array)], False
    if array is not None:
        return [_array_column(field, array[field]) for field in array.dtype.names or ()], True
    if isinstance(data, Mapping):
        return [_mapped(key, values) for key, values in data.items()], True
    if _is_pandas(data):
        return _pandas_columns(data, name), True
    if hasattr(data, "__arrow_c_stream__") or _is_arrow(data):
        return _arrow_columns(data, name), True
    raise _unknown(data)


def _unknown(data: Any) -> UsageError:
    return UsageError(
        f"cannot hash a data set of type {type(data).__module__}.{type(data).__qualname__}: "
        "expected a path, a numpy array, a mapping of column name to array, a pandas, polars or "
        "pyarrow table, a torch Dataset or a tf.data.Dataset"
    )


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
    array = array_of(values)
    if not isinstance(key, str):
        raise UsageError(f"column {key!r}: expected its name to be text")
    if array is not None:
        return _array_column(key, array)
    if _is_arrow(values) or hasattr(values, "__arrow_c_array__"):
        return ArrowColumn(key, values)
    raise UsageError(
        f"column {key!r} is a {type(values).__name__}: expected a numpy or Arrow array"
    )


def _is_pandas(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _is_arrow(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pyarrow"


def _pandas_columns(frame: Any, name: str) -> list[Column]:
    _require_plain_index(frame.index, name)
    keys = [str(key) for key in frame.columns]
    _require_unique(keys, name)
    return [_series_column(key, frame.iloc[:, at]) for at, key in enumerate(keys)]


def _series_column(key: str, series: Any) -> Column:
    numpy = sys.modules["numpy"]  # pandas has imported it
    if isinstance(series.dtype, numpy.dtype):
        return _array_column(key, series.to_numpy())
    return ArrowColumn(key, _inferred(key, series))


def _require_plain_index(index: Any, name: str) -> None:
    """Refuse an index with data, which would not be hashed."""
    if index.nlevels > 1 or index.name is not None or index.dtype.kind not in "iu":
        raise UsageError(
            f"data set {name!r} has an index that holds data ({index.name or index.dtype}): "
            "make it a column with reset_index(), or drop it with reset_index(drop=True)"
        )


def _arrow_columns(data: Any, name: str) -> list[Column]:
    table = require("pyarrow").table(data)
    _require_unique(table.column_names, name)
    return [ArrowColumn(key, table.column(at)) for at, key in enumerate(table.column_names)]


def _require_unique(keys: Sequence[str], name: str) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UsageError(f"data set {name!r}: column {twice[0]!r} is repeated; rename one")
