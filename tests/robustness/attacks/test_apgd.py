from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.robustness import APGD, PGD, Attack
from mlsecops.robustness.attacks.apgd import checkpoints
from mlsecops.robustness.attacks.losses import is_correct, margins
from tests.attackers.robustness import Disguised

BOUNDS = (0.0, 1.0)


def test_checkpoints_are_those_of_the_paper() -> None:
    # Croce and Hein (2020), section 3.2, for 100 steps.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(5)[-1] <= 5


class Quadratic:
    """Three classes whose border is curved: a long step oscillates where a short one arrives."""

    framework = "numpy"
    model = "quadratic"
    channels_first = False
    differentiable = True

    def __init__(self) -> None:
        self.centres = np.array([[0.3, 0.3], [0.7, 0.4], [0.4, 0.8]], dtype=np.float32)
        self.sharpness = np.array([[40.0, 4.0]], dtype=np.float32)

    def logits(self, x: NDArray[np.float32]) -> Any:
        offset = x[:, None, :] - self.centres[None]
        return -(self.sharpness * offset**2).sum(axis=2).astype(np.float32)

    predict = features = logits

    def pullback(self, x: NDArray[np.float32], cotangent: Any) -> Any:
        logits = self.logits(x)
        along = cotangent(logits)
        by_input = -2 * self.sharpness[None] * (x[:, None, :] - self.centres[None])
        return logits, (along[:, :, None] * by_input).sum(axis=1).astype(np.float32)

    def loss_gradient(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> Any:
        def slope(logits: Any) -> Any:
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            return p / p.sum(axis=1, keepdims=True) - np.eye(3, dtype=np.float32)[y]

        return self.pullback(x, slope)


@pytest.fixture
def curved() -> Any:
    model = Quadratic()
    x = np.random.default_rng(0).random((150, 2), dtype=np.float32)
    return model, x, model.logits(x).argmax(axis=1)


def fooled(model: Any, attack: Attack, x: NDArray[np.float32], y: NDArray[np.int64]) -> Any:
    examples = attack.perturb(model, x, y, seed=0, bounds=BOUNDS)
    return ~is_correct(model.logits(examples), y)


@pytest.mark.parametrize("loss", ["cross-entropy", "dlr", "targeted-dlr"])
def test_step_length_finds_its_own_way(curved: Any, loss: Any) -> None:
    model, x, y = curved
    found = fooled(model, APGD(0.08, steps=50, loss=loss), x, y)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.08, 0.08, 33)] * 2), axis=-1).reshape(-1, 1, 2)
    points = np.clip(x[None] + grid, 0, 1).astype(np.float32)
    reachable = np.stack([model.logits(p).argmax(axis=1) != y for p in points]).any(axis=0)
    assert (found >= reachable).mean() >= (1 if loss == "targeted-dlr" else 0.97)
    assert found.sum() >= fooled(model, PGD(0.08, steps=50, step=0.08), x, y).sum()


def test_a_targeted_search_visits_the_classes_in_the_order_of_their_scores(curved: Any) -> None:
    model, x, y = curved
    orders = APGD(0.01, loss="targeted-dlr")._targets(model.logits(x), y)
    assert len(orders) == 2
    scores = model.logits(x)
    rows = np.arange(len(x))
    assert (scores[rows, orders[0]] >= scores[rows, orders[1]]).all()
    assert (orders[0] != y).all()


def test_samples_that_stand_come_back_at_the_smallest_margin_seen(curved: Any) -> None:
    model, x, y = curved
    lowest = np.full(len(x), np.inf)

    def watch(scores: Any) -> Any:
        if len(scores) == len(x):
            lowest[:] = np.minimum(lowest, margins(scores, y))
        return scores

    seen = Disguised(model, on_scores=watch)
    far = margins(model.logits(x), y) > 0
    x, y, lowest = x[far], y[far], lowest[far]
    examples = APGD(1e-4, steps=10).perturb(seen, x, y, seed=0, bounds=BOUNDS)
    ends = margins(model.logits(examples), y)
    stands = ends >= 0
    assert stands.any()
    assert (ends[stands] <= lowest[stands] + 1e-6).all()
