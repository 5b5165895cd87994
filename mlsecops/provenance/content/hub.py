"""Columns of Hugging Face data sets, read through their indices.

`datasets.Dataset` → rows as select, filter, sort and shuffle left them → Arrow → bytes

Formats and transforms are views for the reader, not content. Pictures and sounds are hashed as
their bytes with the base name of their file, also where a table holds a path only.

Source: datasets 5.2, "Dataset features" and `datasets.table.embed_table_storage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.provenance.content.arrays import Update
from mlsecops.provenance.content.arrow import ArrowColumn

_BATCH: Final = 1000  # rows; the default of `datasets` for its own passes


@dataclass(frozen=True, slots=True)
class HubColumn:
    """Column of a `datasets.Dataset`."""

    name: str
    data: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.data)

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        rows = self.data.select_columns([self.name]).with_format("arrow")[start:stop]
        values = embedded(rows, self.data.features).column(0)
        return ArrowColumn(self.name, values).write(update, 0, len(values))


def hub_batches(data: Any) -> Iterator[Any]:
    """Arrow tables of a `datasets.IterableDataset`, in order.

    Values are taken as Python objects: after a filter, batches of Arrow differ in their types.
    """
    arrow = require("pyarrow")
    plain = data.with_format(None)
    schema = None
    if plain.features is not None:
        plain = plain.decode(enable=False)  # pictures and sounds stay bytes
        schema = plain.features.arrow_schema
    for batch in plain.iter(_BATCH):
        yield embedded(arrow.Table.from_pydict(batch, schema=schema), data.features)


def embedded(table: Any, features: Any) -> Any:
    """The table with the bytes of files that it names."""
    names_files = require("datasets.features.features").require_storage_embed
    if features is None or not any(names_files(features[key]) for key in table.column_names):
        return table
    return require("datasets.table").embed_table_storage(table)
