"""How good the answers probably are, before any label arrives.

probabilities (n, k), labels (n,) → Calibration.fit → probability that each answer is right
    → expected confusion matrix → estimated accuracy, precision and recall

This is confidence-based performance estimation (CBPE): under covariate shift calibrated
probabilities still say how often the model is right. Under concept drift they do not: the same
input means something else, and only labels tell.

Sources: Guillory et al. 2021 and the documentation of NannyML (estimation from confidence); Platt
1999 (sigmoid calibration), here for each predicted class on its own, over the log-odds of all
classes: which class comes second says more than the confidence alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.errors import FormatRefused, UsageError

__all__ = ["Calibration", "Estimate"]

Floats = NDArray[np.float64]

_STEPS: Final = 50
_RIDGE: Final = 10.0
_FARTHEST: Final = 14.0
_MOST_CLASSES: Final = 32
_TOLERANCE: Final = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """Performance that answers without labels let expect.

    Attributes:
        rows: Number of answers.
        accuracy: Expected share of right answers.
        error: Standard error of that share, by chance alone (not by concept drift).
        confusion: Expected rows of each true class (down) and predicted class (across) `(k, k)`.
    """

    rows: int
    accuracy: float
    error: float
    confusion: Floats

    @property
    def precision(self) -> Floats:
        """Expected precision of each class `(k,)`; NaN for a class that was not predicted."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> Floats:
        """Expected recall of each class `(k,)`; NaN for a class that is not expected."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Probability that an answer is right, by predicted class and probabilities.

    Attributes:
        curves: Each predicted class's sigmoid `(k, k + 1)`: slopes over the log-odds of the
            classes, and an offset; of more than 32 classes, the slope of the predicted one and an
            offset `(k, 2)`.
    """

    curves: Floats

    @classmethod
    def fit(cls, probabilities: Floats, labels: NDArray[Any]) -> Calibration:
        """Learn how often answers of a confidence were right.

        Args:
            probabilities: `(n, k)` on data the model was not trained on.
            labels: `(n,)` true classes.

        Raises:
            UsageError: There is no row, or the shapes do not fit together.
        """
        truth = np.asarray(labels)
        if probabilities.ndim != 2 or not len(truth) or truth.shape != probabilities.shape[:1]:  # noqa: PLR2004 - rows by classes
            raise UsageError(
                f"labels: expected one for each of the answers {probabilities.shape}, "
                f"got shape {truth.shape}"
            )
        predicted, design = probabilities.argmax(axis=1), _design(probabilities)
        hits = (predicted == truth).astype(np.float64)
        winner = _design(probabilities.max(axis=1)[:, None])
        slope, offset = _sigmoid_fit(winner, hits, toward=np.array([1.0, 0.0]))
        curves = []
        for each in range(probabilities.shape[1]):
            # A class with few rows stays near the curve of all classes together.
            toward = np.zeros(design.shape[1])
            toward[min(each, len(toward) - 2)], toward[-1] = slope, offset
            own = predicted == each
            curves.append(_sigmoid_fit(design[own], hits[own], toward=toward))
        return cls(curves=np.array(curves))

    def right(self, probabilities: Floats) -> Floats:
        """Probability that each answer is right `(n,)`.

        Args:
            probabilities: `(n, k)`.

        Raises:
            UsageError: They are of another number of classes.
        """
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.curves):  # noqa: PLR2004 - rows by classes
            raise UsageError(
                f"probabilities: expected (n, {len(self.curves)}), got {probabilities.shape}"
            )
        own = self.curves[probabilities.argmax(axis=1)]
        return _sigmoid((own * _design(probabilities)).sum(axis=1))

    def estimate(self, probabilities: Floats) -> Estimate:
        """Performance to expect of answers whose labels are not known.

        Args:
            probabilities: `(n, k)`, n ≥ 1.

        Raises:
            UsageError: There is no answer, or they are of another number of classes.
        """
        right = self.right(probabilities)
        if not len(right):
            raise UsageError("probabilities: expected at least one answer")
        return Estimate(
            rows=len(right),
            accuracy=float(right.mean()),
            error=math.sqrt(float((right * (1 - right)).sum())) / len(right),
            confusion=_confusion(probabilities, right),
        )

    @classmethod
    def from_arrays(cls, curves: NDArray[Any], labels: int) -> Calibration:
        """Read curves that came from outside.

        Raises:
            FormatRefused: They are not one finite sigmoid for each class.
        """
        width = labels + 1 if labels <= _MOST_CLASSES else 2
        if curves.shape != (labels, width) or not np.isfinite(curves).all():
            raise FormatRefused("baseline: the calibration is not one sigmoid for each class")
        return cls(curves=curves.astype(np.float64, copy=False))


def _design(probabilities: Floats) -> Floats:
    """Log-odds of the classes, or of the likeliest among very many, and a one for the offset."""
    if probabilities.shape[1] > _MOST_CLASSES:
        probabilities = probabilities.max(axis=1, keepdims=True)
    shares = np.clip(probabilities, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(shares) - np.log1p(-shares), -_FARTHEST, _FARTHEST)
    return np.column_stack([odds, np.ones(len(odds))])


def _sigmoid(values: Floats) -> Floats:
    probability: Floats = 0.5 * (1 + np.tanh(values / 2))
    return probability


def _sigmoid_fit(design: Floats, hits: Floats, *, toward: Floats) -> Floats:
    """Slopes and offset of the likeliest sigmoid, drawn a little toward a given one (Newton)."""
    curve = toward.copy()
    for _ in range(_STEPS):
        right = _sigmoid(design @ curve)
        slope = design.T @ (right - hits) + _RIDGE * (curve - toward)
        weights = right * (1 - right)
        bend = design.T @ (design * weights[:, None]) + _RIDGE * np.eye(len(toward))
        step = np.linalg.solve(bend, slope)
        # A Newton step of a sigmoid may overshoot; a bounded one cannot run away.
        curve = curve - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _TOLERANCE:
            break
    return curve


def _confusion(probabilities: Floats, right: Floats) -> Floats:
    """Expected confusion matrix; what is not right falls to the other classes by their shares."""
    n, k = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    others = np.clip(probabilities, 0.0, None)
    others[np.arange(n), predicted] = 0.0
    total = others.sum(axis=1, keepdims=True)
    even = np.ones_like(others)
    even[np.arange(n), predicted] = 0.0
    shares = np.where(total > 0, others / np.where(total > 0, total, 1.0), even / max(k - 1, 1))
    truth = shares * (1 - right)[:, None]
    truth[np.arange(n), predicted] = right
    matrix = np.zeros((k, k))
    np.add.at(matrix, predicted, truth)
    return matrix.T.copy()


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return share
