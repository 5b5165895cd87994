from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.attackers.robustness import SoftmaxRegression

Samples: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture
def two_class() -> SoftmaxRegression:
    """Score difference is exactly ``2 * sum(x) - 10``: the margin is known for every input."""
    weights = np.stack([-np.ones(10), np.ones(10)], axis=1).astype(np.float32)
    return SoftmaxRegression(weights=weights, bias=np.array([5.0, -5.0], dtype=np.float32))


@pytest.fixture
def samples() -> Samples:
    """Twenty inputs per margin, 0.5 ± d on average, so that Linf eps > d flips, and only it."""
    offsets = np.repeat(np.linspace(0.02, 0.2, 10), 20)
    signs = np.tile([1.0, -1.0], 100)
    x = (0.5 + (offsets * signs)[:, None] * np.ones(10)).astype(np.float32)
    apart = (np.arange(200) / 4096).astype(np.float32)  # no input occurs twice
    x[:, 8] += apart
    x[:, 9] -= apart
    return x, (signs > 0).astype(np.int64)
