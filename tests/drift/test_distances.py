from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from mlsecops.drift.distances import (
    exact_ks,
    jensen_shannon,
    population_stability,
    wasserstein,
    weighted_ks,
)
from mlsecops.monitoring import Baseline

samples = st.lists(
    st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -0.0, float("inf"), float("-inf")]),
    min_size=1,
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(samples, samples)
def test_distance_equals_scipys_with_ties_and_infinities(
    one: list[float], two: list[float]
) -> None:
    reference, values = np.sort(one), np.sort(two)
    expected = ks_2samp(reference, values, method="asymp").statistic
    assert exact_ks(reference, values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("places", [None, 2, 0])
@pytest.mark.parametrize("shift", [0.0, 0.01, 1.0, 50.0])
def test_distance_of_large_samples_equals_scipys(places: int | None, shift: float) -> None:
    rng = np.random.default_rng(0)
    reference, values = rng.normal(size=20_000), rng.normal(shift, 1.1, size=3_000)
    if places is not None:
        reference, values = reference.round(places), values.round(places)
    expected = ks_2samp(reference, values, method="asymp").statistic
    for one, two in ((reference, values), (values, reference)):
        assert exact_ks(np.sort(one), np.sort(two)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(samples, samples, st.integers(1, 5))
def test_weights_count_like_repeated_rows(one: list[float], two: list[float], times: int) -> None:
    reference, values = np.sort(one), np.sort(two)
    weights = np.arange(len(values)) % times + 1.0
    repeated = np.repeat(values, weights.astype(int))
    expected = exact_ks(reference, repeated)
    assert weighted_ks(reference, values, weights) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50),
)
def test_wasserstein_equals_scipys(one: list[float], two: list[float]) -> None:
    reference, values = np.sort(one), np.sort(two)
    found = wasserstein(reference, np.append(0.0, reference.cumsum()), values)
    assert found == pytest.approx(wasserstein_distance(one, two), abs=1e-6)


def test_jensen_shannon_equals_scipys_and_psi_its_definition() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(9), size=2)
    assert jensen_shannon(p[None], q[None])[0] == pytest.approx(jensenshannon(p, q, base=2))
    expected = sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True))
    assert population_stability(p[None], q[None])[0] == pytest.approx(expected)


def test_wasserstein_is_read_from_rows_when_asked_for_and_in_units_of_the_feature() -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(rng.normal(size=(5000, 1)) * 40, None)
    rows = rng.normal(size=(5000, 1)) * 40 + 20
    assert baseline.drift(rows).features["f0"].wasserstein is None
    moved = baseline.drift(rows, wasserstein=True).features["f0"].wasserstein
    assert moved == pytest.approx(20, abs=2)


def test_wasserstein_looks_at_finite_values_and_ks_at_all() -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(rng.normal(size=(5000, 1)), None)
    rows = rng.normal(size=(4000, 1))
    rows[:400], rows[400:800] = np.inf, np.nan
    read = baseline.drift(rows, wasserstein=True).features["f0"]
    assert read.wasserstein is not None
    assert read.wasserstein < 0.1 < read.ks
    assert read.missing == 0.1
