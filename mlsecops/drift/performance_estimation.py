"""Performance estimation of a classifier without labels, from its confidence (CBPE).

    probabilities (n, k), labels (n,) → Calibration.fit → probability that each answer is correct
        → expected confusion matrix → estimated accuracy, precision and recall

Under covariate shift calibrated probabilities still give the share of correct answers. Under
concept drift, where the same input has another meaning, they do not, and only labels help.

Sources: Guillory et al. 2021 and the documentation of NannyML (estimation from confidence); Platt
1999 (sigmoid calibration), here for each predicted class, over the log-odds of all classes: the
runner-up class carries information beyond the confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Floats
from mlsecops.errors import FormatRefused, UsageError

_STEPS: Final = 50  # Newton steps; chosen: well above what converges
_RIDGE: Final = 10.0  # rows; chosen: so many pull a class to the curve of all classes
_FARTHEST: Final = 14.0  # log-odds; chosen: a probability of 1 - 1e-6
_MOST_CLASSES: Final = 32  # chosen: k (k + 1) parameters of more classes would overfit
_TOLERANCE: Final = 1e-8  # log-odds; chosen: below the error of any estimate


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """Estimated performance of answers without labels.

    Attributes:
        rows: Number of answers.
        accuracy: Expected share of correct answers.
        error: Standard error of that share by chance, without concept drift.
        confusion: Expected rows of each true class (down) and predicted class (across) `(k, k)`.
    """

    rows: int
    accuracy: float
    error: float
    confusion: Floats

    @property
    def precision(self) -> Floats:
        """Expected precision of each class `(k,)`; NaN for a class without predictions."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> Floats:
        """Expected recall of each class `(k,)`; NaN for a class without expected rows."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=1))


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Probability that an answer is correct, by predicted class and probabilities.

    Attributes:
        curves: Sigmoid of each predicted class `(k, k + 1)`: slopes over the log-odds of the
            classes, and an offset; for more than 32 classes, the slope of the predicted one and an
            offset `(k, 2)`.

    Examples:
        >>> answers, labels = np.array([[0.9, 0.1], [0.2, 0.8]] * 50), np.array([0, 1] * 50)
        >>> Calibration.fit(answers, labels).estimate(answers).accuracy > 0.9
        True
    """

    curves: Floats

    @classmethod
    def fit(cls, probabilities: Floats, labels: NDArray[Any]) -> Calibration:
        """Fit the sigmoids to answers `(n, k)` and labels `(n,)` that the model was not trained on.

        Raises:
            UsageError: There are no rows, or the shapes do not match.
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
            # A class with few rows stays near the curve of all classes.
            toward = np.zeros(design.shape[1])
            toward[min(each, len(toward) - 2)], toward[-1] = slope, offset
            own = predicted == each
            curves.append(_sigmoid_fit(design[own], hits[own], toward=toward))
        return cls(curves=np.array(curves))

    def right(self, probabilities: Floats) -> Floats:
        """Probability that each of the answers `(n, k)` is correct `(n,)`.

        Raises:
            UsageError: The number of classes differs.
        """
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.curves):  # noqa: PLR2004 - rows by classes
            raise UsageError(
                f"probabilities: expected (n, {len(self.curves)}), got {probabilities.shape}"
            )
        own = self.curves[probabilities.argmax(axis=1)]
        return _sigmoid((own * _design(probabilities)).sum(axis=1))

    def estimate(self, probabilities: Floats) -> Estimate:
        """Estimate the performance of answers `(n, k)`, n ≥ 1, without labels.

        Raises:
            UsageError: There are no answers, or the number of classes differs.
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
        """Rebuild a calibration from untrusted curves; raises `FormatRefused`."""
        width = labels + 1 if labels <= _MOST_CLASSES else 2
        if curves.shape != (labels, width) or not np.isfinite(curves).all():
            raise FormatRefused("baseline: calibration: expected one finite sigmoid for each class")
        return cls(curves=curves.astype(np.float64, copy=False))


def _design(probabilities: Floats) -> Floats:
    """Log-odds of up to 32 classes, else of the predicted one, and a one for the offset."""
    if probabilities.shape[1] > _MOST_CLASSES:
        probabilities = probabilities.max(axis=1, keepdims=True)
    shares = np.clip(probabilities, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(shares) - np.log1p(-shares), -_FARTHEST, _FARTHEST)
    return np.column_stack([odds, np.ones(len(odds))])


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)), dtype=np.float64)


def _sigmoid_fit(design: Floats, hits: Floats, *, toward: Floats) -> Floats:
    """Slopes and offset of the likeliest sigmoid, with a ridge toward a given one (Newton)."""
    curve = toward.copy()
    for _ in range(_STEPS):
        right = _sigmoid(design @ curve)
        slope = design.T @ (right - hits) + _RIDGE * (curve - toward)
        weights = right * (1 - right)
        bend = design.T @ (design * weights[:, None]) + _RIDGE * np.eye(len(toward))
        step = np.linalg.solve(bend, slope)
        # A Newton step of a sigmoid may overshoot; a bounded step cannot diverge.
        curve = curve - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _TOLERANCE:
            break
    return curve


def _confusion(probabilities: Floats, right: Floats) -> Floats:
    """Expected confusion matrix; errors are split over the other classes by probability."""
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
    share = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return np.asarray(share, dtype=np.float64)
