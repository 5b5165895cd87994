from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlsecops import errors
from mlsecops.provenance import Manifest, hash_dataset, hash_path
from tests.provenance.column_kinds import kinds

FRAME = pd.DataFrame(
    {
        "x": [0.5, 1.5],
        "label": [1, 2],
        "word": ["a", "b"],
        "odd name/[0:3]": [True, False],
        "when": pd.to_datetime(["2026-01-01", "2026-01-02"]),
    }
)


def read(value: dict[str, Any], folder: Path) -> mlcroissant.Dataset:
    """The metadata as MLCommons' library validates and reads it."""
    place = folder / "croissant.json"
    place.write_text(json.dumps(value), "utf-8")
    return mlcroissant.Dataset(place)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "pictures").mkdir(parents=True)
    FRAME.to_csv(root / "train.csv", index=False)
    parquet.write_table(pa.Table.from_pandas(FRAME), root / "train.parquet")
    for name in ("a.png", "b.PNG", "c.jpg", "é \n[1:2].png"):
        (root / "pictures" / name).write_bytes(name.encode())
    (root / "[columns]").write_text("a file with the name of an entry of a table")
    (root / "no ending").write_bytes(b"")
    return root


def test_a_folder_is_valid_and_each_file_has_its_digest(folder: Path, tmp_path: Path) -> None:
    manifest = hash_path(folder)
    metadata = read(manifest.to_croissant(), tmp_path).metadata
    files = [each for each in metadata.distribution if hasattr(each, "sha256") and each.sha256]
    assert {file.name: file.sha256 for file in files} == {
        entry.name: entry.digest.hex for entry in manifest
    }
    formats = {file.name: file.encoding_formats for file in files}
    assert formats["train.csv"] == ["text/csv"]
    assert formats["no ending"] == ["application/octet-stream"]


def test_pictures_are_records_of_image_objects(folder: Path, tmp_path: Path) -> None:
    metadata = read(hash_path(folder).to_croissant(), tmp_path).metadata
    by_name = {each.name: each for each in metadata.record_sets}
    assert set(by_name) == {"records-image-png", "records-image-jpeg"}
    [png] = [each for each in metadata.distribution if each.name == "image-png"]
    assert png.includes == ["*.PNG", "*.png"]


@pytest.mark.parametrize("name", ["train.csv", "train.parquet"])
def test_the_columns_of_a_table_are_read_from_its_file(folder: Path, name: str) -> None:
    table = hash_dataset(FRAME, name="train")
    value = hash_path(folder / name).to_croissant(table=table, about={"license": "CC0-1.0"})
    dataset = read(value, folder)
    rows = list(dataset.records("rows"))
    assert [row["rows/x"] for row in rows] == [0.5, 1.5]
    assert [row["rows/word"] for row in rows] == [b"a", b"b"]
    types = {field["name"]: field["dataType"] for field in value["recordSet"][0]["field"]}
    assert types == {
        "x": "cr:Float64",
        "label": "cr:Int64",
        "word": "sc:Text",
        "odd name/[0:3]": "sc:Boolean",
        "when": "sc:DateTime",
    }


def test_data_in_memory_is_listed_by_its_parts(tmp_path: Path) -> None:
    table = pa.table(kinds())
    for data in (FRAME, {"train": FRAME, "test": FRAME}, np.arange(3), table):
        manifest = hash_dataset(data, name="t")
        value = manifest.to_croissant()
        assert value["distribution"] == []
        records = list(read(value, tmp_path).records("parts"))
        assert [row["parts/part"] for row in records] == [each.name for each in manifest]
        assert records[0]["parts/digest"] == str(manifest.entries[0].digest)


def test_a_manifest_without_files_or_a_name_is_valid(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    read(hash_path(tmp_path / "empty").to_croissant(), tmp_path)
    (tmp_path / "empty" / "x[0:3]").write_text("a file with the name of a part")
    value = hash_path(tmp_path / "empty").to_croissant()
    read(value, tmp_path)
    assert [file["name"] for file in value["distribution"]] == ["x[0:3]"]
    read(Manifest.from_sha256sums(f"{'a' * 64}  x\n").to_croissant(), tmp_path)


def test_what_the_validator_would_refuse_is_refused(folder: Path) -> None:
    with pytest.raises(errors.UsageError, match="expected sha256 digests, got blake2b"):
        hash_path(folder, algorithm="blake2b").to_croissant()
    with pytest.raises(errors.UsageError, match="table: expected the manifest of one CSV"):
        hash_path(folder).to_croissant(table=hash_dataset(FRAME, name="t"))


def test_types_of_columns_are_kept_in_a_saved_manifest(tmp_path: Path) -> None:
    manifest = hash_dataset(FRAME, name="t")
    loaded = Manifest.load(manifest.save(tmp_path / "m.json"))
    assert loaded == manifest
    assert [entry.type for entry in loaded] == [entry.type for entry in manifest]
    assert "<f8" in {entry.type for entry in loaded}
