"""What a data set's content is, whatever holds it: a path, an array, a table, a stream of samples.

Data comes in; a Manifest goes out whose entries are runs of rows, named `column[start:stop]`, so
that a mismatch names the column and the rows, and an appended row shows as appended.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

from mlsecops._choices import checked
from mlsecops.provenance.content.parts import ROWS_PER_ENTRY, content_entries
from mlsecops.provenance.manifest import Manifest, hash_path

__all__ = ["ROWS_PER_ENTRY", "hash_dataset"]


@checked
def hash_dataset(
    data: Any,
    *,
    name: str,
    algorithm: str = "sha256",
    executor: Executor | None = None,
) -> Manifest:
    """Manifest of a data set.

    Types, shapes, the order of rows and columns, and the columns' names are part of the digests.
    Which library holds a table, and how it chunks, slices or encodes it in memory, is not: pandas,
    polars and pyarrow tables and mappings of numpy arrays of the same columns and rows agree. A
    column of categories counts as its values. In floating columns a null is NaN.

    Args:
        data: A path or URL (each file an entry), a numpy array, a mapping of column name → array, a
            pandas, polars or pyarrow table, a torch `Dataset` or a `tf.data.Dataset` (one pass
            over its samples; it must give the same ones in the same order each time).
        name: What the data set is called.
        algorithm: Digest algorithm.
        executor: Where files are hashed, for paths.

    Raises:
        UsageError: The data is of another kind, holds Python objects that are not of one plain
            kind, or columns differ in length.
        MissingExtra: A table needs Arrow, which is not installed.

    Example:
        >>> import numpy as np
        >>> manifest = hash_dataset({"x": np.zeros((3, 2)), "y": np.arange(3)}, name="tiny")
        >>> [entry.name for entry in manifest]
        ['[columns]', 'x[0:3]', 'y[0:3]']
    """
    if isinstance(data, (str, os.PathLike)):
        return hash_path(data, algorithm=algorithm, executor=executor).renamed(name)
    entries = content_entries(data, name=name, algorithm=algorithm)
    return Manifest(name=name, algorithm=algorithm, entries=entries)
