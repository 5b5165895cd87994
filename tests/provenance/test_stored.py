from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
import zarr
from pyarrow import feather, parquet

from mlsecops import errors
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.provenance.content.parts import ROWS_PER_ENTRY

FRAME = pd.DataFrame({"a": [3, 1, 2, 5], "b": ["x", "y", None, "x"]})


def root(data: Any, **options: Any) -> Digest:
    return hash_dataset(data, name="t", **options).root


@pytest.fixture
def hub() -> datasets.Dataset:
    return datasets.Dataset.from_pandas(FRAME)


def test_a_hugging_face_data_set_is_the_rows_that_it_shows(hub: datasets.Dataset) -> None:
    assert root(hub) == root(FRAME)
    views = {
        "select": (hub.select([2, 0]), [2, 0]),
        "filter": (hub.filter(lambda row: row["a"] > 1), [0, 2, 3]),
        "sort": (hub.sort("a"), [1, 2, 0, 3]),
        "shuffle": (hub.shuffle(seed=3), [hub["a"].index(a) for a in hub.shuffle(seed=3)["a"]]),
    }
    for name, (view, rows) in views.items():
        assert root(view) == root(FRAME.iloc[rows].reset_index(drop=True)), name
    assert root(hub.with_format("numpy")) == root(hub)
    assert root(hub.select_columns(["a"])) == root(FRAME[["a"]])


def test_a_streamed_data_set_has_the_digest_of_the_whole(hub: datasets.Dataset) -> None:
    stream = hub.to_iterable_dataset()
    assert root(stream) == root(hub)
    assert root(stream.filter(lambda row: row["a"] > 1)) == root(
        hub.filter(lambda row: row["a"] > 1)
    )


def test_splits_of_a_hugging_face_data_set_are_verified_each_by_itself(
    hub: datasets.Dataset,
) -> None:
    splits = datasets.DatasetDict(train=hub, test=hub.select([0]))
    manifest = hash_dataset(splits, name="d")
    assert manifest == hash_dataset({"train": FRAME, "test": FRAME.iloc[:1]}, name="d")
    assert manifest.verify(splits) == manifest
    with pytest.raises(errors.DigestMismatch, match=r"'test/a\[0:1\]', 'test/b\[0:1\]'"):
        manifest.verify(datasets.DatasetDict(train=hub, test=hub.select([1])))


def test_pictures_are_their_bytes_wherever_their_files_lie(tmp_path: Path) -> None:
    found = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "a.png"
        file.write_bytes(b"pixels")
        rows = pa.table({"image": pa.array([{"bytes": None, "path": str(file)}])})
        features = datasets.Features({"image": datasets.Image(decode=False)})
        found.add(root(datasets.Dataset(rows).cast(features)))
    file.write_bytes(b"others")
    found.add(root(datasets.Dataset(rows).cast(features)))
    assert len(found) == 2


def test_arrays_of_zarr_are_their_values_whatever_their_chunks(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    for name, chunks, version in (("v3", (2, 3), 3), ("v2", (10, 1), 2)):
        place = tmp_path / name
        array = zarr.open_array(
            place, mode="w", shape=(10, 3), dtype="f4", chunks=chunks, zarr_format=version
        )
        array[:] = values
        assert root(array) == root(values)
        assert root(place, by="content") == root(values)
        assert root(place) != root(values)
    manifest = hash_dataset(array, name="d")
    array[7, 1] = -1
    with pytest.raises(errors.DigestMismatch, match=r"changed 'array\[0:10\]'"):
        manifest.verify(array)


def test_a_group_has_a_part_for_each_array_and_its_attributes(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g", mode="w")
    group.create_array("x/values", shape=(3,), dtype="i4")[:] = [1, 2, 3]
    group.create_array("scale", shape=(), dtype="f8")
    group.attrs["unit"] = "m"
    manifest = hash_dataset(group, name="d")
    names = [entry.name for entry in manifest]
    assert names == ["[attributes]", "[columns]", "scale[0:1]", "x/values[0:3]"]
    assert manifest.verify(zarr.open_group(tmp_path / "g", mode="r")) == manifest
    group.attrs["unit"] = "km"
    with pytest.raises(errors.DigestMismatch, match=r"changed '\[attributes\]'"):
        manifest.verify(group)


def test_hdf5_files_have_the_same_parts(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = np.arange(3)
        file["group/words"] = [b"a", b"bb"]
        file["x"].attrs["scale"] = np.float32(0.5)
        names = [entry.name for entry in hash_dataset(file, name="d")]
        assert root(file["x"]) != root(np.arange(3))  # its attributes are content
        assert root(file["group/words"]) == root(np.array([b"a", b"bb"], "S"))
    assert names == ["[attributes]", "[columns]", "group/words[0:2]", "x[0:3]"]


def test_a_table_is_its_rows_whatever_files_hold_it(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(10)), "p": ["x"] * 5 + ["y"] * 5})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    parquet.write_to_dataset(table, tmp_path / "parts", partition_cols=["p"])
    (tmp_path / "parts" / "_SUCCESS").touch()
    feather.write_feather(table, tmp_path / "t.feather")
    table.to_pandas().to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "parts", "t.feather", "t.csv"):
        assert root(tmp_path / name, by="content") == root(table), name
    assert root(pyarrow.dataset.dataset(tmp_path / "t.parquet")) == root(table)
    assert root(table.to_reader(max_chunksize=4)) == root(table)


def test_a_long_streamed_table_is_cut_into_the_same_runs() -> None:
    table = pa.table({"a": np.arange(ROWS_PER_ENTRY * 2 + 5)})
    for rows in (1000, ROWS_PER_ENTRY, 100_000):
        assert hash_dataset(table.to_reader(max_chunksize=rows), name="d") == hash_dataset(
            table, name="d"
        )
    exact = pa.table({"a": np.arange(ROWS_PER_ENTRY)})
    assert root(exact.to_reader()) == root(exact)
    assert root(exact.slice(0, 0).to_reader()) == root(exact.slice(0, 0))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "at least one batch of rows, got none"),
        (
            [*({"a": each} for each in range(1000)), {"b": 1}],
            "row 1000: .* columns a, got b",
        ),
    ],
)
def test_a_stream_that_is_no_one_table_is_refused(rows: list[dict[str, int]], said: str) -> None:
    def rest() -> Iterator[dict[str, int]]:
        yield from rows

    with pytest.raises(errors.UsageError, match=said):
        root(datasets.IterableDataset.from_generator(rest))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.csv", None, "no such file"),
        ("a.txt", b"x", "expected zarr, or files of one kind"),
        ("a.parquet", b"no parquet", "cannot read .*a.parquet: ArrowInvalid"),
        ("a.csv", b"a,b\n1\n", "cannot read .*a.csv: ArrowInvalid"),
    ],
)
def test_files_without_a_readable_content_are_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.UsageError, match=said):
        hash_dataset(tmp_path / name, name="d", by="content")


def test_an_attribute_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
        file["x"].attrs["unit"] = h5py.Empty("f4")
        with pytest.raises(errors.UsageError, match="an attribute is a Empty"):
            root(file)


def test_a_chunk_of_nonsense_is_an_error_that_names_the_column(tmp_path: Path) -> None:
    array = zarr.open(str(tmp_path / "z"), mode="w", shape=(100,), chunks=(10,), dtype="i4")
    array[:] = np.arange(100)
    chunk = next(each for each in (tmp_path / "z" / "c").rglob("*") if each.is_file())
    chunk.write_bytes(b"nonsense")
    with pytest.raises(errors.UsageError, match="column 'array' cannot be hashed"):
        root(array)


def test_files_damaged_after_they_were_opened_are_an_error_that_names_the_data(
    tmp_path: Path,
) -> None:
    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": np.arange(1000)}), file)
    opened = pyarrow.dataset.dataset(file)
    data = file.read_bytes()
    for damaged in (data[:200], data[:30] + bytes(170) + data[200:]):
        file.write_bytes(damaged)
        with pytest.raises(errors.UsageError, match="data set 't' cannot be read"):
            root(opened)
