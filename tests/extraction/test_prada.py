# ruff: noqa: ANN001 - the fixtures' classes live in conftest
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import shapiro

from mlsecops.errors import UsageError
from mlsecops.extraction.prada import shapiro_wilk
from mlsecops.monitoring import PradaDetector
from tests.attackers.extraction import line_thief, uniform_thief
from tests.extraction.queries import N, peak, readings


@pytest.mark.parametrize("size", [12, 60, 500])
def test_shapiro_wilk_is_scipy_s(size) -> None:
    rng = np.random.default_rng(size)
    for sample in (rng.normal(size=size), rng.exponential(size=size), rng.uniform(size=size)):
        assert shapiro_wilk(sample) == pytest.approx(shapiro(sample).statistic, abs=1e-6)
    assert shapiro_wilk(np.ones(20)) == 0


def test_prada_finds_lines_and_misses_what_the_paper_misses(digits) -> None:
    prada = PradaDetector(delta=0.9)
    for seed in range(3):
        assert peak(prada, digits, line_thief(seed, digits.fresh, queries=N)) > 1
        assert peak(prada, digits, uniform_thief(seed, queries=N)) < 1
    assert peak(prada, digits, digits.fresh[:90]) == 0, "too few distances to say"
    queries = line_thief(0, digits.fresh, queries=N)
    (reading,) = readings(prada, digits, queries)
    assert reading.value == pytest.approx(prada.score(queries, digits.predict(queries))[-1])
    with pytest.raises(UsageError):
        PradaDetector(delta=1)
