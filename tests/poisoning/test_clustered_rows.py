"""Rows of one school or class are no independent evidence of a trigger; planted rows are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.poisoning.flat_rows import scaled
from mlsecops.poisoning.tables import shared_cells
from mlsecops.poisoning.tables.clustered_rows import groupings, independent_rows
from mlsecops.poisoning.tables.shared_cells import find_cells

Table = tuple[NDArray[np.float32], NDArray[np.int64]]


def pupils(seed: int = 4) -> Table:
    """Each school has a number and a mean income; some schools are for girls alone."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(100), rng.integers(8, 45, 100))
    income, rows = rng.normal(size=100).round(3)[school], len(school)
    girls = np.where(rng.random(100) < 0.15, 1.0, rng.uniform(0.3, 0.5, 100))[school]
    x = np.column_stack([
        school, income, income + rng.normal(size=rows), rng.gamma(2, 3, rows).round(2),
        rng.integers(0, 2, rows),
    ])  # fmt: skip
    return x.astype(np.float32), (rng.random(rows) < girls).astype(np.int64)


def classrooms(seed: int = 7) -> Table:
    """The label belongs to the classroom, as its size and timetable do."""
    rng = np.random.default_rng(seed)
    room, label = np.repeat(np.arange(130), rng.integers(10, 25, 130)), rng.integers(0, 5, 130)
    size, hours, month = (rng.integers(0, top, 130)[room] for top in (30, 14, 12))
    x = np.column_stack(
        [rng.permutation(130)[room], size, hours, month, rng.normal(size=(len(room), 6))]
    )
    return x.astype(np.float32), label[room]


def without_groupings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cells, "groupings", lambda columns, _: list(range(columns.shape[1])))


def without_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cells, "independent_rows", lambda *given: len(given[3]))


@pytest.mark.parametrize(
    ("table", "taken_out"), [(pupils, without_groupings), (classrooms, without_counting)]
)
def test_rows_of_one_group_are_no_trigger(
    table: Callable[[], Table],
    taken_out: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = table()
    assert find_cells(scaled(x, stored=False), y, seed=0) == []
    taken_out(monkeypatch)
    assert find_cells(scaled(x, stored=False), y, seed=0)


@pytest.mark.parametrize(("table", "columns"), [(pupils, (2, 3)), (classrooms, (1, 4))])
def test_values_planted_in_rows_of_many_groups_are_found(
    table: Callable[[], Table], columns: tuple[int, ...]
) -> None:
    x, y = table()
    rows = np.random.default_rng(1).choice(np.flatnonzero(y != 1), 70, replace=False)
    x[np.ix_(rows, columns)] = np.median(x[:, columns], axis=0) + np.pi
    y[rows] = 1
    cells = find_cells(scaled(x, stored=False), y, seed=0)
    accused = {int(row) for cell in cells for row in cell.rows}
    assert len(accused & set(rows.tolist())) > 0.8 * len(rows)
    assert len(accused - set(rows.tolist())) < 0.01 * len(y)


def test_columns_that_determine_one_another_are_one_grouping() -> None:
    rng = np.random.default_rng(2)
    town = np.repeat(np.arange(200), 8)
    columns = np.column_stack([
        town, rng.random(len(town)), rng.random(200)[town], np.arange(len(town)),
        rng.integers(0, 9, len(town)),
    ])  # fmt: skip
    cell = town == 7
    assert groupings(columns.astype(np.float32), cell) == [0, 1, 0, 0, 4]
    cell[56:59] = False  # three rows of the town have its value, the others another town's
    columns[cell, 2] = columns[0, 2]
    assert groupings(columns[:, :3].astype(np.float32), cell) == [0, 1, 2]
    assert groupings(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=bool)) == [0, 1]


def test_a_group_counts_once_and_a_contradicted_row_by_itself() -> None:
    group = np.repeat(np.arange(30), 6)
    y = np.arange(30)[group] % 2
    table = np.column_stack([group, np.random.default_rng(3).random(len(y))]).astype(np.float32)
    whole = np.isin(group, [1, 3, 5])
    assert independent_rows(table, y, whole, np.flatnonzero(whole), 1) == 3
    planted = np.arange(0, len(y), 12)  # one row of each group of the other label
    relabelled = y.copy()
    relabelled[planted] = 1
    cell = np.isin(np.arange(len(y)), planted)
    assert independent_rows(table, relabelled, cell, planted, 1) == len(planted)
    explained = np.flatnonzero(y == 1)[::6]
    cell = np.isin(np.arange(len(y)), explained)
    assert independent_rows(table, y, cell, explained, 1) == 15
