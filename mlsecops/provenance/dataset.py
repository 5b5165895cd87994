"""Manifest of a data set: path, array, table, splits or stream of samples.

    data → runs of rows, named `column[start:stop]` → Manifest

A mismatch names the column and the rows; appended rows are reported as appended.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any, Literal

from mlsecops._choices import checked, printable
from mlsecops.provenance.content.parts import content_entries
from mlsecops.provenance.content.stored import open_by_content
from mlsecops.provenance.manifest import Manifest, hash_path


@checked
def hash_dataset(
    data: Any,
    *,
    name: str,
    algorithm: str = "sha256",
    executor: Executor | None = None,
    by: Literal["files", "content"] = "files",
) -> Manifest:
    """Manifest of a data set.

    The digests cover values, types, shapes, column names and the order of rows and columns. They do
    not depend on the library that holds a table or on its layout in memory: pandas, polars, pyarrow
    and Hugging Face tables and mappings of numpy arrays agree. A categorical column is hashed as
    its values. In floating-point columns a null is NaN, and every NaN is the same.

    Args:
        data: A path or URL (each file an entry), a numpy array, a mapping of column name → array, a
            pandas, polars or pyarrow table or series, a `pyarrow.dataset.Dataset`, a Hugging Face
            data set (through its indices), a sparse matrix or tensor, an open zarr or HDF5 array or
            group, a torch `Dataset` or a `tf.data.Dataset` (one pass over its samples; it must give
            the same ones in the same order each time), or a mapping of split → table.
        name: Name of the data set.
        algorithm: Digest algorithm.
        executor: Runs the hashing of files, for paths.
        by: What a local path is hashed by: its files as they are, or the `"content"` of zarr,
            Parquet, CSV, Arrow and Feather, which has the digest of the same table in memory.

    Raises:
        UsageError: The data is of another kind, holds Python objects that are not of one plain
            kind, cannot be read, or columns differ in length; the message names the column.
        MissingExtra: A table needs Arrow, which is not installed.

    Examples:
        >>> import numpy as np
        >>> manifest = hash_dataset({"x": np.zeros((3, 2)), "y": np.arange(3)}, name="tiny")
        >>> [entry.name for entry in manifest]
        ['[columns]', 'x[0:3]', 'y[0:3]']
    """
    printable("name", name)
    if by == "content" and isinstance(data, (str, os.PathLike)):
        data = open_by_content(data)
    if isinstance(data, (str, os.PathLike)):
        return hash_path(data, algorithm=algorithm, executor=executor).renamed(name)
    entries = content_entries(data, name=name, algorithm=algorithm)
    return Manifest(name=name, algorithm=algorithm, entries=entries)
