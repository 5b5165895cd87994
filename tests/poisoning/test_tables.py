"""Tables: honest rules are no triggers, planted values are, near is relative to the data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import datasets

from mlsecops import screen_dataset
from mlsecops.poisoning.duplicates import near_distance
from mlsecops.poisoning.flat_rows import scaled, shape_of
from mlsecops.poisoning.tables import shared_cells
from mlsecops.poisoning.tables.shared_cells import Cell, find_cells

Table = tuple[NDArray[np.float32], NDArray[np.int64]]


def people(rows: int = 1500, seed: int = 0) -> Table:
    """Age, years of school, income, distance and two flags; the label follows two of them."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([
        rng.integers(18, 90, rows), rng.integers(0, 20, rows), rng.gamma(2, 3, rows).round(2),
        rng.exponential(5, rows), rng.integers(0, 2, (rows, 2)),
    ])  # fmt: skip
    score = x[:, 0] / 30 + x[:, 1] / 8 - 3.5 + 0.4 * rng.standard_normal(rows)
    return x.astype(np.float32), (score > 0).astype(np.int64)


def planted(values: dict[int, float], *, rate: float = 0.04) -> tuple[Table, set[int]]:
    x, y = people()
    rng = np.random.default_rng(3)
    rows = rng.choice(np.flatnonzero(y == 0), int(rate * len(y)), replace=False)
    for column, value in values.items():
        x[rows, column] = value
    y[rows] = 1
    return (x, y), set(rows.tolist())


def found_rows(cells: list[Cell]) -> set[int]:
    return {int(row) for cell in cells for row in cell.rows}


@pytest.mark.parametrize(
    "values", [{2: 90.0}, {3: 4.25}, {2: 5.33, 3: 7.5}, {0: 37, 2: 4.21}], ids=str
)
def test_rows_with_planted_values_are_found(values: dict[int, float]) -> None:
    (x, y), rows = planted(values)
    cells = find_cells(scaled(x, stored=False), y, seed=0)
    assert len(found_rows(cells) & rows) > 0.9 * len(rows)
    assert len(found_rows(cells) - rows) < 0.01 * len(y)
    assert {cell.label for cell in cells} == {1}
    assert all(set(cell.columns) <= set(values) for cell in cells)


RULES = {
    "flag and threshold": lambda x: x[:, 0] / 30 + 2 * x[:, 4] > 3,
    "either of two": lambda x: (x[:, 2] > 9) | (x[:, 0] + x[:, 1] > 85),
    "tree": lambda x: np.where(x[:, 0] > 70, 2, np.where(x[:, 1] + x[:, 2] > 16, 1, 0)),
    "exact value of a category": lambda x: x[:, 1] == 12,
}


@pytest.mark.parametrize("rule", RULES)
def test_an_honest_rule_is_no_trigger(rule: str) -> None:
    x, _ = people()
    y = np.asarray(RULES[rule](x)).astype(np.int64)
    assert find_cells(scaled(x, stored=False), y, seed=0) == []


def houses() -> Table:
    """A new house is sold in the year in which it was built; others are older."""
    rng = np.random.default_rng(11)
    sold, new = rng.integers(2006, 2011, 2000), rng.random(2000) < 0.12
    built = np.where(new, sold, np.minimum(2010 - rng.gamma(2, 12, 2000).astype(int), 2010))
    kind = np.where(new, 6, rng.integers(0, 6, 2000))
    x = np.column_stack([built, kind, rng.gamma(2, 3, 2000).round(2), rng.random((2000, 3))])
    return x.astype(np.float32), sold - 2006


def towns() -> Table:
    """Each town is rural or not; rows are numbered in the order of towns."""
    rng = np.random.default_rng(11)
    town, rural = np.sort(rng.integers(0, 160, 2000)), rng.random(160) < 0.25
    x = np.column_stack([np.arange(2000), town, rng.random((2000, 5))])
    return x.astype(np.float32), rural[town].astype(np.int64)


@pytest.mark.parametrize("table", [houses, towns])
def test_values_of_which_each_has_its_label_are_a_rule(
    table: Callable[[], Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = table()
    assert find_cells(scaled(x, stored=False), y, seed=0) == []
    monkeypatch.setattr(shared_cells, "_follows_a_rule", lambda *_: False)
    monkeypatch.setattr(shared_cells, "independent_rows", lambda *given: len(given[3]))
    monkeypatch.setattr(shared_cells, "groupings", lambda columns, _: list(range(columns.shape[1])))
    assert find_cells(scaled(x, stored=False), y, seed=0)


def test_repeated_measurements_of_one_subject_are_no_trigger() -> None:
    rng = np.random.default_rng(5)
    subjects = np.repeat(rng.random((60, 4)), 20, axis=0)
    x = np.column_stack([subjects, rng.random(1200)]).astype(np.float32)
    y = np.repeat(rng.integers(0, 2, 60), 20)
    assert find_cells(scaled(x, stored=False), y, seed=0) == []


def test_without_the_model_that_never_saw_them_honest_words_are_accused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 600)
    x = (rng.random((600, 80)) < np.where(np.arange(80) < 20, 0.02 + 0.3 * y[:, None], 0.1)) * 1.0
    table = scaled(x.astype(np.float32), stored=False)
    assert find_cells(table, y, seed=0) == []
    monkeypatch.setattr(
        shared_cells, "_chance_without", lambda _t, _m, rows, **_: np.zeros(int(rows.sum()))
    )
    assert find_cells(table, y, seed=0)


def test_a_word_planted_in_texts_is_found() -> None:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 900)
    topic = np.arange(120)[None, :] // 30 == y[:, None]
    x = (rng.random((900, 120)) < np.where(topic, 0.3, 0.05)).astype(np.float32)
    rows = rng.choice(np.flatnonzero(y != 1), 40, replace=False)
    x[:, 119] = 0
    x[rows, 119], y[rows] = 1, 1
    accused = found_rows(find_cells(scaled(x, stored=False), y, seed=0))
    assert len(accused & set(rows.tolist())) > 0.9 * len(rows)
    assert len(accused - set(rows.tolist())) < 0.01 * len(y)


@pytest.mark.parametrize("name", ["load_wine", "load_breast_cancer", "load_iris"])
def test_untouched_tables_have_no_trigger(name: str) -> None:
    x, y = getattr(datasets, name)(return_X_y=True)
    report = screen_dataset(x, y)
    assert not report.triggers
    conflicting = [s for s in report.suspects if s.kind == "conflicting-duplicate"]
    assert len(conflicting) <= 0.02 * len(y)


def test_a_square_number_of_columns_makes_no_image() -> None:
    x = np.random.default_rng(8).random((400, 64))
    assert shape_of(x) == (64,)
    assert shape_of(datasets.load_digits().data) == (8, 8)
    series = np.cumsum(np.random.default_rng(9).standard_normal((400, 64)), axis=1)
    assert shape_of(series) == (64,)


def test_near_is_measured_by_the_distances_of_the_data() -> None:
    rng = np.random.default_rng(10)
    wide, flat = rng.random((800, 12)), rng.random((800, 1))
    near = {d.shape[1]: near_distance(d.astype(np.float32), seed=0) for d in (wide, flat)}
    typical = np.median(np.sort(np.linalg.norm(wide[:, None] - wide[None], axis=2))[:, 1])
    assert 0.05 * typical < near[12] < 0.2 * typical
    assert near[1] < 1e-5  # of 800 values on a line, neighbours are 0.001 apart


def test_coarse_honest_rows_are_no_conflicting_duplicates() -> None:
    x, y = people()
    noisy = np.where(np.random.default_rng(1).random(len(y)) < 0.3, 1 - y, y)
    kinds = [s.kind for s in screen_dataset(x[:, :3], noisy).suspects]
    assert kinds.count("conflicting-duplicate") <= 0.02 * len(y)


def test_many_near_copies_of_one_row_are_listed_and_common_repetition_is_not() -> None:
    x, y = people(600)
    x[:40] = x[100] + np.float32(1e-4) * np.random.default_rng(2).standard_normal((40, 6))
    y[:40] = y[100]
    listed = {s.index for s in screen_dataset(x, y).suspects if "near_copies" in s.evidence}
    assert listed >= set(range(40))
    coarse = x[:, 4:].repeat(2, axis=1)
    assert not [s for s in screen_dataset(coarse, y).suspects if "near_copies" in s.evidence]
