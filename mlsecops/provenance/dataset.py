"""Manifest of a data set: path, array, table or stream of samples.

    data → runs of rows, named `column[start:stop]` → Manifest

A mismatch names the column and the rows; appended rows are reported as appended.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

from mlsecops._choices import checked
from mlsecops.provenance.content.parts import content_entries
from mlsecops.provenance.manifest import Manifest, hash_path


@checked
def hash_dataset(
    data: Any,
    *,
    name: str,
    algorithm: str = "sha256",
    executor: Executor | None = None,
) -> Manifest:
    """Manifest of a data set.

    The digests cover values, types, shapes, column names and the order of rows and columns. They do
    not depend on the library that holds a table or on its layout in memory: pandas, polars and
    pyarrow tables and mappings of numpy arrays agree. A categorical column is hashed as its values.
    In floating-point columns a null is NaN.

    Args:
        data: A path or URL (each file an entry), a numpy array, a mapping of column name → array, a
            pandas, polars or pyarrow table, a torch `Dataset` or a `tf.data.Dataset` (one pass
            over its samples; it must give the same ones in the same order each time).
        name: Name of the data set.
        algorithm: Digest algorithm.
        executor: Runs the hashing of files, for paths.

    Raises:
        UsageError: The data is of another kind, holds Python objects that are not of one plain
            kind, or columns differ in length.
        MissingExtra: A table needs Arrow, which is not installed.

    Examples:
        >>> import numpy as np
        >>> manifest = hash_dataset({"x": np.zeros((3, 2)), "y": np.arange(3)}, name="tiny")
        >>> [entry.name for entry in manifest]
        ['[columns]', 'x[0:3]', 'y[0:3]']
    """
    if isinstance(data, (str, os.PathLike)):
        return hash_path(data, algorithm=algorithm, executor=executor).renamed(name)
    entries = content_entries(data, name=name, algorithm=algorithm)
    return Manifest(name=name, algorithm=algorithm, entries=entries)
