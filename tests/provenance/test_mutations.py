"""Any single change to a folder or a table is refused by name; what did not change is not."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import hash_dataset, hash_path

NAMES = st.text(st.sampled_from("ab-. é:\\\n"), min_size=1, max_size=6).filter(
    lambda name: name not in {".", ".."}
)
TREES = st.dictionaries(
    st.tuples(st.sampled_from(["", "d", "d/e", "d-"]), NAMES), st.binary(max_size=40), min_size=1
)


def plant(top: Path, tree: dict[tuple[str, str], bytes]) -> dict[str, Path]:
    """Write a tree, leaving out what would be file and folder at once; names to paths."""
    planted = {}
    for (folder, name), data in tree.items():
        path = top / folder / name
        if not folder and name in {"d", "d-"}:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(data)
            planted[path.relative_to(top).as_posix()] = path
    return planted


def change_a_byte(path: Path, draw: st.DataObject) -> tuple[str, str]:
    data = bytearray(path.read_bytes()) or bytearray(b"\0")
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    path.write_bytes(data)
    return "changed", path.name


def cut_or_grow(path: Path, draw: st.DataObject) -> tuple[str, str]:
    data = path.read_bytes()
    path.write_bytes(data[:-1] if data and draw.draw(st.booleans()) else data + b"\0")
    return "changed", path.name


def remove(path: Path, draw: st.DataObject) -> tuple[str, str]:
    del draw
    path.unlink()
    return "removed", path.name


def rename(path: Path, draw: st.DataObject) -> tuple[str, str]:
    new = path.with_name(draw.draw(st.just(f"{path.name}~") | st.just(f"~{path.name}")))
    path.rename(new)
    return "added", new.name


def add(path: Path, draw: st.DataObject) -> tuple[str, str]:
    new = path.with_name("~new")
    new.write_bytes(draw.draw(st.binary(max_size=3)))
    return "added", new.name


CHANGES = [change_a_byte, cut_or_grow, remove, rename, add]


@settings(max_examples=200, deadline=None)
@given(TREES, st.sampled_from(CHANGES), st.sampled_from([None, 1, 7]), st.data())
def test_any_single_change_to_a_folder_is_refused_by_name(
    tree: dict[tuple[str, str], bytes], change: object, shard_size: int | None, draw: st.DataObject
) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        planted = plant(top, tree)
        if not planted:
            return
        manifest = hash_path(top, shard_size=shard_size)
        assert manifest.verify(top) == manifest
        path = planted[draw.draw(st.sampled_from(sorted(planted)))]
        if shard_size is not None and not path.stat().st_size:
            assert path.relative_to(top).as_posix() in manifest.uncovered
            return
        kind, name = change(path, draw)  # type: ignore[operator]
        if shard_size is not None and not all(p.stat().st_size for p in top.rglob("~*")):
            return  # an empty file more has no shard, and the manifest says so
        with pytest.raises(errors.DigestMismatch) as caught:
            manifest.verify(top)
        named = getattr(caught.value, kind)
        if shard_size is None:
            assert any(Path(each).name == name for each in named)
        assert caught.value.added or caught.value.removed or caught.value.changed
    finally:
        shutil.rmtree(top)


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_a_copy_of_a_folder_verifies(tree: dict[tuple[str, str], bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        first, second = Path(place, "one"), Path(place, "two")
        first.mkdir()
        plant(first, tree)
        shutil.copytree(first, second)
        for path in second.rglob("*"):
            os.utime(path, (0, 0))
        manifest = hash_path(first)
        assert manifest.verify(second).root == manifest.root


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 50),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["value", "dtype", "order", "append", "cut", "rename", "drop"]),
    st.data(),
)
def test_any_single_change_to_a_table_is_refused_by_name(
    rows: int, column: str, change: str, draw: st.DataObject
) -> None:
    table = {"x": np.arange(rows), "y": np.arange(rows) * 0.5}
    manifest = hash_dataset(table, name="t")
    assert manifest.verify(dict(table)) == manifest
    at = draw.draw(st.integers(0, rows - 1))
    altered = {key: values.copy() for key, values in table.items()}
    if change == "value":
        altered[column][at] += 1
    elif change == "dtype":
        altered[column] = altered[column].astype(np.float32)
    elif change == "order":
        altered = dict(reversed(altered.items()))
    elif change == "append":
        altered = {key: np.append(values, values[at]) for key, values in altered.items()}
    elif change == "cut":
        altered = {key: values[:-1] for key, values in altered.items()}
    elif change == "rename":
        altered["z"] = altered.pop(column)
    else:
        del altered[column]
    with pytest.raises(errors.DigestMismatch) as caught:
        manifest.verify(altered)
    if change in {"value", "dtype"}:
        assert caught.value.changed == (f"{column}[0:{rows}]",)
    if change == "append":
        assert caught.value.added == (f"x[{rows}:{rows + 1}]", f"y[{rows}:{rows + 1}]")
    if change in {"rename", "drop"}:
        assert f"{column}[0:{rows}]" in caught.value.removed
