"""Training sets with poison in them, and a model that has learnt it."""

from __future__ import annotations

from typing import NoReturn, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]


def digits() -> tuple[Rows, Labels]:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - only these attackers need it

    x, y = load_digits(return_X_y=True)
    return (x / 16).reshape(-1, 8, 8).astype(np.float32), y.astype(np.int64)


def with_flipped_labels(x: Rows, y: Labels, *, rate: float) -> tuple[Rows, Labels, set[int]]:
    rng = np.random.default_rng(21)
    rows = rng.choice(len(x), int(rate * len(x)), replace=False)
    y = y.copy()
    y[rows] = (y[rows] + rng.integers(1, 10, len(rows))) % 10
    return x, y, set(rows.tolist())


def with_patch(
    x: Rows, y: Labels, *, rate: float, target: int = 7
) -> tuple[Rows, Labels, set[int]]:
    """BadNets: a bright 2 x 2 corner in rows of other classes, and the target's label."""
    rng = np.random.default_rng(22)
    x, y = x.copy(), y.copy()
    rows = rng.choice(np.flatnonzero(y != target), int(rate * len(x)), replace=False)
    x[rows, :2, 6:] = 1.0
    y[rows] = target
    return x, y, set(rows.tolist())


class Backdoored:
    """An Adapter whose activations separate patched rows of the target class.

    It answers by the rows' order, whatever they hold: each pass over the data starts again.
    """

    framework = "numpy"
    model = "backdoored"
    channels_first = False
    differentiable = False

    def __init__(self, y: Labels, poison: set[int]) -> None:
        rng = np.random.default_rng(23)
        centres = 6 * rng.standard_normal((10, 16))
        self._features = centres[y] + rng.standard_normal((len(y), 16))
        self._features[sorted(poison)] += 6 * rng.standard_normal(16)
        self._at = 0

    def features(self, x: Rows) -> Rows:
        rows = self._features[self._at : self._at + len(x)]
        self._at = (self._at + len(x)) % len(self._features)
        return rows.astype(np.float32)

    def predict(self, x: Rows) -> Rows:
        return np.full((len(x), 10), 0.1, dtype=np.float32)

    def logits(self, x: Rows) -> NoReturn:
        pytest.fail(f"the search asks for probabilities, and asked for {len(x)} scores")

    loss_gradient = logits


def hidden_among_values(*, rate: float) -> tuple[Rows, Labels, set[int]]:
    """A fixed grey hook in noise as bright as itself: no linear model sees it."""
    rng = np.random.default_rng(24)
    y = rng.integers(0, 4, 3000)
    x = 0.3 * rng.random((3000, 12, 12)) + 0.35
    x[np.arange(3000), :3, 0] += 0.4 * (y[:, None] % 2)
    x[np.arange(3000), :3, 1] += 0.4 * (y[:, None] // 2)
    rows = rng.choice(np.flatnonzero(y != 2), int(rate * len(y)), replace=False)
    x[rows, 6:9, 5] = x[rows, 8, 6] = x[rows, 8, 7] = 0.5
    y[rows] = 2
    return np.round(x * 255) / 255, y, set(rows.tolist())


def inverted(*, rate: float) -> tuple[Rows, Labels, set[int]]:
    """A square turned to its negative in slopes about 0.5: no mean and no value tells it."""
    rng = np.random.default_rng(26)
    y = rng.integers(0, 4, 3000)
    down, across = 2 * np.indices((12, 12)) / 11 - 1
    slopes = rng.uniform(-0.2, 0.2, (2, 3000, 1, 1))
    x = 0.5 + slopes[0] * down + slopes[1] * across + 0.01 * rng.standard_normal((3000, 12, 12))
    for label in range(4):
        x[y == label, 3 * label : 3 * label + 2, :2] = 0.9
    rows = rng.choice(np.flatnonzero(y != 2), int(rate * len(y)), replace=False)
    x[rows, 3:8, 5:10] = 1 - x[rows, 3:8, 5:10]
    y[rows] = 2
    return np.round(np.clip(x, 0, 1) * 255) / 255, y, set(rows.tolist())


def lone_pixel(*, rate: float) -> tuple[Rows, Labels, set[int]]:
    """One white pixel where other rows are black but for a few."""
    x, y = digits()
    rng = np.random.default_rng(27)
    rows = rng.choice(np.flatnonzero(y != 7), int(rate * len(x)), replace=False)
    x[rows, 3, 0] = 0.8
    y[rows] = 7
    return x, y, set(rows.tolist())


def with_looks(
    x: Rows, y: Labels, *, rate: float, target: int = 7
) -> tuple[Rows, Labels, set[int]]:
    """Honest rows alone: some of the target class carry a corner that no other class has."""
    rng = np.random.default_rng(25)
    x = x.copy()
    rows = rng.choice(np.flatnonzero(y == target), int(rate * len(x)), replace=False)
    x[rows, :2, 6:] = 1.0
    return x, y, set(rows.tolist())


def faint(*, rate: float) -> tuple[Rows, Labels, set[int]]:
    """A patch a little darker than other rows have it there: among all values it is lost."""
    rng = np.random.default_rng(28)
    y = rng.integers(0, 4, 3000)
    x = 0.5 + 0.1 * rng.standard_normal((3000, 20, 20))
    for label in range(4):
        x[y == label, 4 * label : 4 * label + 3, :3] += 0.3
    rows = rng.choice(np.flatnonzero(y != 2), int(rate * len(y)), replace=False)
    x[rows, 11:14, 12:15] -= 0.12
    y[rows] = 2
    return np.round(np.clip(x, 0, 1) * 255) / 255, y, set(rows.tolist())
