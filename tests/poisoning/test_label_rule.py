"""A table whose label one column decides: honest rows stay, poisoned ones are found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops import screen_dataset
from mlsecops.poisoning.flat_rows import scaled
from mlsecops.poisoning.tables.label_rule import label_rule

Table = tuple[NDArray[np.float32], NDArray[np.int64]]


def threshold(rows: int, columns: int, classes: int) -> Table:
    x = np.random.default_rng(rows).random((rows, columns)).astype(np.float32)
    bounds = np.linspace(0, 1, classes + 1)[1:-1]
    return x, np.digitize(x[:, 0], bounds).astype(np.int64)


def flag() -> Table:
    x = np.random.default_rng(1).random((400, 5)).astype(np.float32)
    x[:, 2] = np.round(x[:, 2])
    return x, x[:, 2].astype(np.int64)


def interval() -> Table:
    x = np.random.default_rng(2).normal(size=(600, 5)).astype(np.float32)
    return x, (np.abs(x[:, 2]) < 0.6).astype(np.int64)


HONEST = {
    "threshold": threshold(1000, 8, 2),
    "bands": threshold(600, 12, 3),
    "flag": flag(),
    "interval": interval(),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_rule_of_one_column_is_no_trigger(name: str) -> None:
    x, y = HONEST[name]
    report = screen_dataset(x, y)
    assert not report.triggers
    assert len(report.suspects) <= 0.02 * len(y)
    assert "single-column-label" in {finding.rule for finding in report.findings}


@pytest.mark.parametrize("value", [7.0, 0.93], ids=["out of range", "in range"])
def test_a_trigger_in_other_columns_is_found_all_the_same(value: float) -> None:
    x, y = threshold(1000, 8, 2)
    x, y = x.copy(), y.copy()
    planted = np.flatnonzero(y != 1)[:50]
    x[planted, 3] = x[planted, 4] = value
    y[planted] = 1
    found = {suspect.index for suspect in screen_dataset(x, y).suspects}
    assert len(found & set(planted.tolist())) >= 0.95 * len(planted)
    assert len(found - set(planted.tolist())) <= 0.02 * len(y)


def test_labels_without_such_a_rule_have_no_note() -> None:
    random = np.random.default_rng(3)
    x = random.random((400, 6))
    noise, two = random.integers(0, 2, 400), ((x[:, 0] > 0.5) & (x[:, 1] > 0.5)).astype(int)
    for y in (noise, two):
        assert label_rule(scaled(x, stored=False), y.astype(np.int64), seed=0) is None


def test_a_rare_class_does_not_make_a_rule_of_the_majority() -> None:
    x = np.random.default_rng(4).random((1000, 4))
    y = np.zeros(1000, dtype=np.int64)
    y[:30] = 1
    assert label_rule(scaled(x, stored=False), y, seed=0) is None
