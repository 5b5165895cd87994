from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops import errors, training_run
from mlsecops.provenance import hash_dataset
from mlsecops.provenance.content.parts import ROWS_PER_ENTRY

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_a_changed_value_names_its_column() -> None:
    table = {"x": X, "y": np.arange(4)}
    altered = {"x": X.copy(), "y": np.arange(4)}
    altered["x"][2, 1] = -1
    difference = hash_dataset(table, name="t").diff(hash_dataset(altered, name="t"))
    assert difference.changed == ("x[0:4]",)


@pytest.mark.parametrize(
    "other",
    [X.astype(np.float64), X.reshape(3, 4), X[::-1], X + 1],
    ids=["dtype", "shape", "order", "values"],
)
def test_dtype_shape_order_and_values_are_part_of_the_digest(other: NDArray[Any]) -> None:
    assert hash_dataset(X, name="d").root != hash_dataset(other, name="d").root


def test_byte_order_and_memory_layout_are_not() -> None:
    same = [X.astype(">f4"), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]]
    assert {hash_dataset(data, name="d").root for data in same} == {hash_dataset(X, name="d").root}


def test_an_appended_row_leaves_earlier_full_entries_as_they_were() -> None:
    rows = np.arange(ROWS_PER_ENTRY + 5)
    before, after = hash_dataset(rows, name="r"), hash_dataset(np.append(rows, 1), name="r")
    difference = before.diff(after)
    assert difference.changed == ()
    assert difference.removed == (f"array[{ROWS_PER_ENTRY}:{ROWS_PER_ENTRY + 5}]",)


@pytest.mark.parametrize(
    "data",
    [object(), {"a": np.zeros(2), "b": np.zeros(3)}, np.array([object()]), np.float32(1), {1: X}],
)
def test_data_that_cannot_be_hashed_is_refused(data: Any) -> None:
    with pytest.raises(errors.UsageError):
        hash_dataset(data, name="bad")


def test_data_that_is_read_meanwhile_is_recorded_once() -> None:
    one, other = (hash_dataset(np.arange(size), name="d") for size in (3, 4))
    with training_run("fit", datasets=[one]) as run:
        for data in (one, other, other, other.renamed("e")):
            run.add_dataset(data)
    assert [(each.name, each.root) for each in run.datasets] == [
        ("d", one.root), ("d", other.root), ("e", other.root),
    ]  # fmt: skip
    with pytest.raises(errors.UsageError, match="manifest of hash_path"):
        run.add_dataset("data.csv")  # type: ignore[arg-type] # a path is no manifest
