from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import Pullback
from mlsecops.robustness.attacks.losses import cross_entropy, dlr, pullback, targeted_dlr
from tests.attackers.robustness import SoftmaxRegression

LOSSES = {"cross-entropy": cross_entropy, "dlr": dlr, "targeted-dlr": targeted_dlr}


def scores(classes: Any, *, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(scale=3, size=(6, classes))


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("name", LOSSES)
def test_slope_points_where_the_loss_rises(name: str, classes: Any) -> None:
    loss, logits = LOSSES[name], scores(classes)
    y = logits.argmax(axis=1)  # a search ends where the answer is wrong
    target = (y + 1 + np.arange(6) % (classes - 1)) % classes
    value, slope = loss(logits, y, target)
    numeric = np.zeros_like(logits)
    for k in range(classes):
        moved = logits.copy()
        moved[:, k] += 1e-6
        numeric[:, k] = (loss(moved, y, target)[0] - value) / 1e-6
    size = np.linalg.norm(numeric, axis=1, keepdims=True)
    assert np.allclose(
        numeric / size, slope / np.linalg.norm(slope, axis=1, keepdims=True), atol=1e-4
    )


@pytest.mark.parametrize("name", LOSSES)
def test_slope_sums_to_zero_and_survives_saturation(name: str) -> None:
    logits = scores(5) * 1000
    _, slope = LOSSES[name](logits.astype(np.float32), np.arange(6) % 5, (np.arange(6) + 1) % 5)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max(axis=1).min() > 1e-3
    assert np.allclose(slope.sum(axis=1), 0, atol=1e-6)


@pytest.mark.parametrize("name", ["dlr", "targeted-dlr"])
def test_ratio_does_not_depend_on_the_scale_of_the_scores(name: str) -> None:
    logits, y, target = scores(6), np.zeros(6, dtype=int), np.ones(6, dtype=int)
    one, many = (LOSSES[name](logits * scale, y, target)[0] for scale in (1, 1000))
    assert np.allclose(one, many)


class OnlyCrossEntropy:
    """An Adapter of someone else: no gradient but the cross-entropy's."""

    def __init__(self, inner: Any) -> None:
        self.logits, self.loss_gradient = inner.logits, inner.loss_gradient


def test_gradient_of_any_loss_is_made_of_cross_entropies_where_a_model_has_no_more() -> None:
    rng = np.random.default_rng(0)
    model = SoftmaxRegression(
        weights=rng.normal(size=(7, 4)).astype(np.float32), bias=np.zeros(4, dtype=np.float32)
    )
    x = rng.random((5, 7), dtype=np.float32)
    along = rng.normal(size=(5, 4))
    along -= along.mean(axis=1, keepdims=True)
    foreign = OnlyCrossEntropy(model)
    assert not isinstance(foreign, Pullback)
    logits, gradient = pullback(foreign, x, lambda _: along.astype(np.float32))
    assert np.allclose(logits, model.logits(x))
    assert np.allclose(gradient, along @ model.weights.T, atol=1e-4)
