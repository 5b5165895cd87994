from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.poisoning import screen_dataset
from mlsecops.poisoning.causes import find_causes
from mlsecops.poisoning.contradiction import AGREED, agreement
from mlsecops.poisoning.linear import told_linearly
from mlsecops.poisoning.screening import checked
from mlsecops.poisoning.values import shared_values
from tests.attackers.poisoning import digits, hidden_among_values, with_looks, with_patch


def test_poison_is_contradicted_by_its_neighbours_even_as_half_of_its_class() -> None:
    x, y, patched = with_patch(*digits(), rate=0.10)
    flat, labels, _ = checked(x, y)
    contradicted = agreement(flat, labels, seed=0) < AGREED
    honest = np.setdiff1d(np.arange(len(y)), sorted(patched))
    assert contradicted[sorted(patched)].mean() > 0.85
    assert contradicted[honest].mean() < 0.05


def test_pattern_that_no_linear_model_sees_is_found_by_its_values() -> None:
    x, y, planted = hidden_among_values(rate=0.03)
    flat, labels, _ = checked(x, y)
    contradicted = agreement(flat, labels, seed=0) < AGREED
    rows = sorted(planted)
    linear = told_linearly(flat, labels, contradicted, seed=0)[:, 2]
    values = shared_values(flat, labels, contradicted)[:, 2]
    bars = [np.quantile(each[labels != 2], 0.999) for each in (linear, values)]
    assert (linear[rows] > bars[0]).mean() < 0.5
    assert (values[rows] > bars[1]).mean() > 0.9
    found = {s.index for s in screen_dataset(x, y).suspects if s.kind == "trigger"}
    assert len(found & planted) > 0.9 * len(planted)
    assert len(found - planted) < 0.01 * len(x)


def test_honest_rows_with_a_mark_of_their_class_are_no_trigger() -> None:
    x, y, _ = with_looks(*digits(), rate=0.05)
    assert not [s for s in screen_dataset(x, y).suspects if s.kind == "trigger"]


@pytest.mark.parametrize("seed", [0, 1])
def test_contradicted_labels_without_a_cause_have_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2000, 30)).astype(np.float32)
    y = rng.integers(0, 3, 2000)
    contradicted = rng.random(2000) < 0.2
    told = told_linearly(x, y, contradicted, seed=0)

    def focus(_found: Any, _others: Any, rows: Any) -> Any:
        return x[rows], x[rows]

    assert find_causes([told], y, contradicted, focus=focus, seed=0) == []
