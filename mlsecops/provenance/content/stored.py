"""Data sets in files, opened by content: arrays of zarr and HDF5, Parquet, CSV and Arrow tables.

array or group of zarr or h5py → columns that are read run by run; path → data set of its library
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.provenance.content.arrays import Update, array_of, write_array

_ZARR: Final = ("zarr.json", ".zgroup", ".zarray")  # metadata of versions 3 and 2
_TABLES: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "ipc",
    ".feather": "ipc",
}


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """Column of a data set in an array that is read when it is sliced."""

    name: str
    source: Any

    @property
    def rows(self) -> int:
        """Number of rows; 1 of a single value."""
        return int(self.source.shape[0]) if self.source.shape else 1

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        rows = self.source[start:stop] if self.source.shape else self.source[()]
        array = array_of(rows, column=self.name)
        if array is None:
            array = sys.modules["numpy"].asarray(rows)
        if not self.source.shape:
            array = array.reshape(1)  # type: ignore[union-attr] # a single value has no bits
        return write_array(update, array, column=self.name)


def stored_columns(data: Any) -> tuple[list[StoredColumn], dict[str, Any]] | None:
    """Columns and attributes of an open zarr or HDF5 array or group; None for anything else."""
    package, kind = type(data).__module__.partition(".")[0], type(data).__name__
    if package not in {"zarr", "h5py"} or kind not in {"Array", "Group", "Dataset", "File"}:
        return None
    members = [("", data), *_members(data)] if kind in {"Group", "File"} else [("array", data)]
    arrays = [StoredColumn(name, each) for name, each in members if hasattr(each, "shape")]
    known = {name: dict(each.attrs) for name, each in members}
    return arrays, {name: values for name, values in known.items() if values}


def _members(group: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(group, "visititems"):
        found: list[tuple[str, Any]] = []
        group.visititems(lambda name, each: found.append((name, each)))
        yield from found
        return
    yield from sorted(group.members(max_depth=None), key=lambda item: item[0])


def open_by_content(path: str | os.PathLike[str]) -> Any:
    """Open a local file or folder as the data set that its format holds.

    Raises:
        UsageError: Its format is unknown or it cannot be read.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"cannot read {path}: there is no such file or folder")
    try:
        if any((place / name).is_file() for name in _ZARR):
            return require("zarr").open(str(place), mode="r")
        return _table(place)
    except MLSecOpsError:
        raise
    except Exception as error:  # each library raises errors of its own
        raise UsageError(f"cannot read {path}: {type(error).__name__}: {error}") from error


def _table(place: Path) -> Any:
    files = [place] if place.is_file() else sorted(_files(place))
    kinds = {_TABLES.get(file.suffix) for file in files}
    if len(kinds) != 1 or None in kinds:
        got = ", ".join(sorted({file.suffix or file.name for file in files})) or "none"
        raise UsageError(
            f"cannot read {place} by content: expected zarr, or files of one kind of "
            f'{", ".join(_TABLES)}, got {got[:200]}; by="files" hashes files as they are'
        )
    [kind] = kinds
    if kind == "csv":
        tables = [require("pyarrow.csv").read_csv(file) for file in files]
        return require("pyarrow").concat_tables(tables)
    return require("pyarrow.dataset").dataset(place, format=kind, partitioning="hive")


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(("_", ".")) for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden:  # as Arrow skips metadata and markers
            yield file
