"""What a data set's content is, whatever holds it: a path, one array, or a table of columns.

Data comes in; a Manifest goes out whose entries are runs of rows, named ``column[start:stop]``, so
that a mismatch names the column and the rows, and an appended row shows as appended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.manifest import Entry, Manifest, hash_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_PER_ENTRY: Final = 65_536


def hash_dataset(
    data: Any,
    *,
    name: str,
    algorithm: str = "sha256",
    executor: Executor | None = None,
) -> Manifest:
    """Manifest of a data set.

    Args:
        data: A path (each file an entry), a numpy array, or a mapping of column name → array whose
            first axes agree. dtype, shape, order and column names are part of the digests.
        name: What the data set is called.
        algorithm: Digest algorithm.
        executor: Where files are hashed, for paths.

    Raises:
        UsageError: The data is of another kind, holds Python objects, or columns differ in length.

    Example:
        >>> import numpy as np
        >>> manifest = hash_dataset({"x": np.zeros((3, 2)), "y": np.arange(3)}, name="tiny")
        >>> [entry.name for entry in manifest]
        ['x[0:3]', 'y[0:3]']
    """
    if isinstance(data, (str, os.PathLike)):
        return hash_path(data, algorithm=algorithm, executor=executor).renamed(name)
    columns = _columns(data)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise UsageError(
            f"data set {name!r}: expected columns of one length, got {sorted(lengths)}"
        )
    entries = [
        entry for key, column in columns.items() for entry in _entries(key, column, algorithm)
    ]
    ordered = sorted(entries, key=lambda entry: entry.name)
    return Manifest(name=name, algorithm=algorithm, entries=tuple(ordered))


def _columns(data: Any) -> dict[str, NDArray[Any]]:
    # Who holds an array has imported numpy; who does not need not pay for it here.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(data, numpy.ndarray):
        return {"array": data}
    if numpy is not None and isinstance(data, Mapping) and _is_table(data, numpy.ndarray):
        return dict(data)
    raise UsageError(
        f"cannot hash a data set of type {type(data).__name__}: expected a path, a numpy array or "
        "a mapping of column name to array"
    )


def _is_table(data: Mapping[Any, Any], array: type) -> bool:
    return all(isinstance(key, str) and isinstance(item, array) for key, item in data.items())


def _entries(key: str, column: NDArray[Any], algorithm: str) -> Iterator[Entry]:
    if column.ndim == 0:
        raise UsageError(f"column {key!r}: expected rows, got a single value")
    for start in range(0, max(len(column), 1), ROWS_PER_ENTRY):
        rows = column[start : start + ROWS_PER_ENTRY]
        yield Entry(
            f"{key}[{start}:{start + len(rows)}]", _digest(key, rows, algorithm), int(rows.nbytes)
        )


def _digest(key: str, rows: NDArray[Any], algorithm: str) -> Digest:
    if rows.dtype.hasobject:
        raise UsageError(
            f"column {key!r} holds Python objects (dtype {rows.dtype}); "
            "convert it to a number or a fixed-width string type first"
        )
    rows = rows.astype(rows.dtype.newbyteorder("<"), order="C", copy=False)
    header = {"column": key, "dtype": rows.dtype.str, "shape": list(rows.shape)}
    running = new_hash(algorithm)
    running.update(json.dumps(header, sort_keys=True).encode() + b"\n")
    running.update(rows.reshape(-1).view("u1").data if rows.size else b"")
    return Digest(algorithm, running.digest())
