# ruff: noqa: ANN001 - fixtures
from __future__ import annotations

import numpy as np
import pytest

from mlsecops.monitoring import ExtractionDetector
from tests.digits import digits
from tests.extraction.queries import KINDS, SALT, benign

__all__ = ["clients", "detector", "digits"]


@pytest.fixture(scope="module")
def clients(digits) -> list:
    rng = np.random.default_rng(1)
    truth = digits.predict(digits.known).argmax(axis=1)
    queries = [benign(digits.known, truth, kind, rng) for kind in KINDS for _ in range(24)]
    return [(each, digits.predict(each)) for each in queries]


@pytest.fixture(scope="module")
def detector(digits, clients) -> ExtractionDetector:
    return ExtractionDetector.calibrate(
        digits.baseline, clients, false_positive_rate=0.01, salt=SALT, every=1
    )
