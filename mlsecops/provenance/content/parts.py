"""Parts of a data set: runs of rows of each column, for every supported library.

    data → entries `column[start:stop]`, and for a table `[columns]` with the names in order
    splits (a mapping of tables) → the same below `split/`

Rows can be cut as in an earlier manifest, so that rows appended since are separate parts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.provenance.content.batches import batch_entries, batches_of
from mlsecops.provenance.content.columns import Columns, columns_of
from mlsecops.provenance.content.rows import ATTRIBUTES, COLUMNS, Column, part_of, row_entry
from mlsecops.provenance.content.samples import is_stream, sample_entries
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry

ROWS_PER_ENTRY: Final = 65_536  # rows; chosen: a mismatch names at most this many


def content_entries(
    data: Any, *, name: str, algorithm: str, known: Iterable[str] = ()
) -> tuple[Entry, ...]:
    """Entries of an array, a table, a stream of samples, or splits of these, sorted by name.

    `known` are names of parts of an earlier manifest: rows are cut where they end first.

    Raises:
        UsageError: The data has no canonical content, or columns differ in length.
    """
    try:
        return _sorted(_all_entries(data, name, algorithm, tuple(known)))
    except (MLSecOpsError, MemoryError):
        raise
    except Exception as error:  # each library raises errors of its own
        raise UsageError(
            f"data set {name!r} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _all_entries(data: Any, name: str, algorithm: str, known: Sequence[str]) -> Iterator[Entry]:
    splits = _splits(data)
    if splits is None:
        yield from _entries_of(data, name, algorithm, _Cuts(known))
        return
    for split, table in splits.items():
        prefix = f"{split}/"
        own = [part.removeprefix(prefix) for part in known if part.startswith(prefix)]
        for entry in _entries_of(table, f"{name}/{split}", algorithm, _Cuts(own)):
            yield replace(entry, name=f"{prefix}{entry.name}")


def _splits(data: Any) -> Mapping[str, Any] | None:
    """Tables by split, as Hugging Face and others hold them; None for data of another kind."""
    if not isinstance(data, Mapping) or not data or not all(isinstance(key, str) for key in data):
        return None
    return data if all(_is_table(each) for each in data.values()) else None


def _is_table(data: Any) -> bool:
    kinds = {
        ("pandas", "DataFrame"),
        ("polars", "DataFrame"),
        ("pyarrow", "Table"),
        ("datasets", "Dataset"),
        ("datasets", "IterableDataset"),
    }
    return any(
        module in sys.modules and isinstance(data, getattr(sys.modules[module], kind, ()))
        for module, kind in kinds
    )


def _entries_of(data: Any, name: str, algorithm: str, cuts: _Cuts) -> Iterator[Entry]:
    batches = batches_of(data)
    if batches is not None:
        yield from batch_entries(batches, algorithm=algorithm, stop_after=cuts.after)
        return
    if is_stream(data):
        yield from sample_entries(data, algorithm=algorithm, stop_after=cuts.after)
        return
    found = columns_of(data, name)
    if found is None:
        raise _unknown(data)
    _require_one_length(found, name)
    for column in found.columns:
        yield from _entries(column, algorithm, cuts)
    if found.is_table:
        yield _of_json(COLUMNS, [column.name for column in found.columns], algorithm)
    if found.attributes:
        yield _of_json(ATTRIBUTES, found.attributes, algorithm)


def _require_one_length(found: Columns, name: str) -> None:
    lengths = {column.rows for column in found.columns}
    if found.of_one_length and len(lengths) > 1:
        raise UsageError(
            f"data set {name!r}: expected columns of one length, got {sorted(lengths)}"
        )


class _Cuts:
    """Ends of runs of rows: those of known parts, then every `ROWS_PER_ENTRY` rows."""

    def __init__(self, known: Iterable[str]) -> None:
        self._stops: dict[str, set[int]] = {}
        for part in map(part_of, known):
            if part is not None:
                self._stops.setdefault(part[0], set()).add(part[2])
        self._every = sorted(set().union(*self._stops.values()))

    def after(self, start: int, column: str = "") -> int:
        """End of the run from `start` on, in a column of its own length or in all of them."""
        stops = sorted(self._stops.get(column, ())) or self._every
        return next((stop for stop in stops if stop > start), start + ROWS_PER_ENTRY)


def _entries(column: Column, algorithm: str, cuts: _Cuts) -> Iterator[Entry]:
    start, first = 0, True
    while first or start < column.rows:
        stop = min(cuts.after(start, column.name), column.rows)
        try:
            entry = row_entry(column, start, stop, algorithm=algorithm)
        except (MLSecOpsError, MemoryError):
            raise
        except Exception as error:  # each library raises errors of its own
            raise UsageError(
                f"column {column.name!r} cannot be hashed: {type(error).__name__}: {error}; "
                "convert it to numbers, text or dates first"
            ) from error
        yield entry
        start, first = stop, False


def _of_json(name: str, value: Any, algorithm: str) -> Entry:
    data = json.dumps(value, default=_plain_attribute, sort_keys=isinstance(value, dict)).encode()
    return Entry(name, Digest.of(data, algorithm=algorithm), len(data))


def _plain_attribute(value: Any) -> Any:
    """A number or array of numpy among the attributes of a store, as plain values."""
    plain = getattr(value, "tolist", None)
    if plain is None:
        raise UsageError(f"an attribute is a {type(value).__name__}: expected values for JSON")
    return plain()


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _unknown(data: Any) -> UsageError:
    return UsageError(
        f"cannot hash a data set of type {type(data).__module__}.{type(data).__qualname__}: "
        "expected a path, a numpy array, a mapping of column name to array, a pandas, polars or "
        "pyarrow table or series, a datasets.Dataset, a sparse matrix, a zarr or HDF5 array or "
        "group, a torch Dataset or a tf.data.Dataset"
    )
