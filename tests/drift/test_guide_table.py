"""Binning through a guide table against a search that looks at every edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.drift.guide_table import GuideTable
from mlsecops.drift.histograms import Layout
from mlsecops.drift.inputs import Counts, Floats

_LARGEST = float(np.finfo(np.float64).max)
_ODD = (0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2), _LARGEST, -_LARGEST, 1e300, -np.inf)
values = st.one_of(st.sampled_from(_ODD), st.floats(allow_nan=False), st.integers(-9, 9).map(float))


def by_hand(rows: Floats, edges: Floats) -> Counts:
    """Counts per bin by comparing each value with each edge."""
    counts = np.zeros((len(edges), 2 * edges.shape[1] + 1), dtype=np.int64)
    for feature, row in enumerate(edges):
        known = row[row < np.inf]
        for value in rows[:, feature]:
            if value == np.inf:
                counts[feature, -1] += 1
            elif not np.isnan(value):
                counts[feature, 2 * (known < value).sum() + (known == value).any()] += 1
    return counts


def padded(columns: list[list[float]]) -> Floats:
    width = max(1, *map(len, columns))
    return np.array([sorted(each) + [np.inf] * (width - len(each)) for each in columns])


@given(
    st.lists(st.lists(values, max_size=9, unique=True), min_size=1, max_size=3),
    st.lists(values, max_size=20),
    st.sampled_from([1, 40]),
)
def test_bins_are_those_of_a_search_for_every_edge(
    columns: list[list[float]], fresh: list[float], times: int
) -> None:
    edges = padded(columns)
    known = edges.ravel()
    with np.errstate(over="ignore"):
        below = np.nextafter(known, -np.inf)
    column = np.concatenate([fresh, known, below, [np.nan, np.inf, -np.inf]])
    rows = np.repeat(np.tile(column[:, None], (1, len(edges))), times, axis=0)
    counts, missing = Layout(names=tuple("abc"[: len(edges)]), edges=edges).bin(rows)
    np.testing.assert_array_equal(counts, by_hand(rows, edges))
    assert missing.tolist() == [times] * len(edges)


def test_features_with_crowded_edges_are_searched_and_the_others_are_not() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=900), rng.lognormal(0, 4, 900), np.ones(900)])
    edges = padded([np.unique(each)[:: 900 // 60].tolist() for each in rows.T])
    layout = Layout(names=("normal", "heavy", "constant"), edges=edges)
    assert GuideTable.fit(edges).features.tolist() == [0, 2]
    for part in (rows, rows[:99]):
        np.testing.assert_array_equal(layout.bin(part)[0], by_hand(part, edges))


@pytest.mark.parametrize("features", [0, 9_000])
def test_a_table_of_no_or_too_many_features_is_not_made(features: int) -> None:
    table = GuideTable.fit(np.tile(np.arange(64.0), (features, 1)))
    assert not len(table.features)
    assert table.bin(np.empty((3, 0))).shape == (0, 129)
