from __future__ import annotations

import numpy as np

from mlsecops.poisoning.duplicates import conflicts, equal_rows, near_rows


def test_nearly_equal_rows_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((2000, 100)).astype(np.float32)
    x[1000:1100] = x[:100] + 0.01 * rng.standard_normal((100, 100))
    pairs = near_rows(x, seed=0)
    assert len(pairs) >= 95
    assert all(second == first + 1000 for first, second in pairs)


def test_equal_rows_are_no_near_ones() -> None:
    x = np.tile(np.random.default_rng(0).random(100).astype(np.float32), (5, 1))
    assert near_rows(x, seed=0) == []
    assert equal_rows(x) == [[0, 1, 2, 3, 4]]


def test_near_rows_of_different_labels_accuse_both_and_of_the_same_label_none() -> None:
    labels = np.array([0, 1, 2, 2])
    found = conflicts([], [(0, 1), (2, 3)], labels)
    assert [s.index for s in found] == [0, 1]
    assert [s.evidence["near_duplicate_of"] for s in found] == [1, 0]
