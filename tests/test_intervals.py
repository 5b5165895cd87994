from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from mlsecops._intervals import clopper_pearson, wilson
from mlsecops.errors import UsageError


@given(st.integers(1, 3000), st.data())
def test_bounds_are_those_of_scipy(n: Any, data: Any) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = clopper_pearson(hits, n)
    exact = binomtest(hits, n).proportion_ci(0.90, method="exact")
    assert low == pytest.approx(exact.low, abs=1e-9)
    assert high == pytest.approx(exact.high, abs=1e-9)


def test_bounds_hold_for_large_counts() -> None:
    low, high = clopper_pearson(59_000, 60_000)
    assert low == pytest.approx(beta.ppf(0.05, 59_000, 1_001), abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.95, 59_001, 1_000), abs=1e-9)


@pytest.mark.parametrize(("n", "needed"), [(100, 78), (200, 152), (1000, 725)])
def test_share_needed_for_a_floor_of_seventy_percent_is_the_published_one(
    n: Any, needed: Any
) -> None:
    assert clopper_pearson(needed, n).low >= 0.70
    assert clopper_pearson(needed - 2, n).low < 0.70


@pytest.mark.parametrize(("hits", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(hits: Any, n: Any) -> None:
    with pytest.raises(UsageError, match="0 <= hits <= n"):
        clopper_pearson(hits, n)


def test_impossible_confidence_is_refused() -> None:
    with pytest.raises(UsageError, match="confidence"):
        clopper_pearson(1, 2, confidence=1.0)


@given(st.integers(1, 3000), st.data())
def test_score_bounds_are_those_of_scipy(n: Any, data: Any) -> None:
    hits = data.draw(st.integers(0, n))
    exact = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_no_trials_say_nothing_and_all_or_none_reach_the_end() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0
    for hits, n in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(UsageError, match="0 <= hits <= n"):
            wilson(hits, n)
