"""Tables that come as a stream of Arrow batches: their digests in bounded memory.

`pyarrow.dataset.Dataset`, `RecordBatchReader`, Hugging Face `IterableDataset` → batches → entries

The digests are those of the same table in memory, however the batches are cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.provenance.content.arrow import ArrowColumn
from mlsecops.provenance.content.hub import hub_batches
from mlsecops.provenance.content.rows import COLUMNS, row_entry
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry


def batches_of(data: Any) -> Iterator[Any] | None:
    """Batches of a streamed table; None for data of another kind."""
    package, kind = type(data).__module__.partition(".")[0], type(data).__name__
    if package == "datasets" and kind == "IterableDataset":
        return hub_batches(data)
    if package != "pyarrow":
        return None
    arrow = require("pyarrow")
    if isinstance(data, arrow.RecordBatchReader):
        return chain([data.schema.empty_table()], data)
    if type(data).__module__ == "pyarrow._dataset" and hasattr(data, "to_batches"):
        return chain([data.schema.empty_table()], data.to_batches())
    return None


def batch_entries(
    batches: Iterator[Any], *, algorithm: str, stop_after: Callable[[int], int]
) -> Iterator[Entry]:
    """Entries of a streamed table: one for each column of each run of rows.

    Raises:
        UsageError: Batches differ in their columns, or there is none.
    """
    arrow = require("pyarrow")
    held: Any = None
    start = 0
    for batch in batches:
        table = batch if isinstance(batch, arrow.Table) else arrow.Table.from_batches([batch])
        if held is not None and held.column_names != table.column_names:
            expected, got = ", ".join(held.column_names), ", ".join(table.column_names)
            raise UsageError(
                f"row {start + held.num_rows}: expected the columns {expected}, got {got}"
            )
        held = (
            table if held is None else arrow.concat_tables([held, table], promote_options="default")
        )
        while start + held.num_rows > stop_after(start):  # one row more: the last run is not empty
            rows = stop_after(start) - start
            yield from _entries(held.slice(0, rows), start, algorithm)
            held, start = held.slice(rows), start + rows
    if held is None:
        raise UsageError("data: expected at least one batch of rows, got none")
    yield from _entries(held, start, algorithm)
    names = json.dumps(held.column_names).encode()
    yield Entry(COLUMNS, Digest.of(names, algorithm=algorithm), len(names))


def _entries(table: Any, start: int, algorithm: str) -> Iterator[Entry]:
    for at, name in enumerate(table.column_names):
        column = ArrowColumn(name, table.column(at))
        yield row_entry(column, 0, table.num_rows, algorithm=algorithm, first=start)
