"""A small model of handwritten digits with its baseline, as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlsecops.monitoring import Baseline

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Digits:
    """A model of scikit-learn's digits, its baseline, and rows that neither has seen."""

    baseline: Baseline
    predict: Callable[[Floats], Floats]
    known: Floats
    fresh: Floats
    labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits() -> Digits:
    x, y = load_digits(return_X_y=True)
    train, known, fresh = np.split(np.random.default_rng(0).permutation(len(x)), [600, 1200])
    model = LogisticRegression(max_iter=3000).fit(x[train] / 16, y[train])

    def predict(rows: Floats) -> Floats:
        return np.asarray(model.predict_proba(np.atleast_2d(rows) / 16))

    baseline = Baseline.fit(x[known], predict(x[known]), y[known])
    return Digits(baseline, predict, x[known], x[fresh], y[fresh])
