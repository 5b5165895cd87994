"""Data sets of HDF5 files that need a plugin, or more memory than the file accounts for."""

from __future__ import annotations

import io

import pytest

from mlsecops.errors import LimitExceeded, UnsafeContent
from mlsecops.loading import Limits
from mlsecops.loading.sandbox import hdf5_walk

h5py = pytest.importorskip("h5py")
_UNKNOWN_FILTER = 32_015  # number of a plugin, registered with the HDF Group (Zstandard)


def written(*, shape: tuple[int, ...] = (4,), plugin: bool = False) -> io.BytesIO:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        if plugin:
            settings.set_filter(_UNKNOWN_FILTER, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F64LE, space, settings)
    return stream


def test_a_data_set_that_needs_a_plugin_is_refused() -> None:
    with pytest.raises(UnsafeContent, match="needs filter plugin"):
        hdf5_walk.walk(written(plugin=True), where="m", limits=Limits())


def test_a_data_set_that_declares_what_it_does_not_store_is_refused() -> None:
    with pytest.raises(LimitExceeded, match=r"declares 32 bytes and stores 0"):
        hdf5_walk.walk(written(), where="m", limits=Limits())


def test_a_file_that_takes_more_memory_than_there_is_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(hdf5_walk, "_items", full)
    with pytest.raises(LimitExceeded, match="takes more memory to read"):
        hdf5_walk.walk(written(), where="m", limits=Limits())
