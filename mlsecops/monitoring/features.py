"""Which inputs look strange from inside the model: three scores over its features and logits.

x (n, …) → the model's features (or the inputs themselves) → energy, Mahalanobis, neighbours → flags

- energy: minus the log-sum-exp of the logits (Liu et al. 2020);
- mahalanobis: distance to the nearest class mean under one covariance (Lee et al. 2018);
- neighbours: distance to the tenth nearest of the kept features on the sphere (Sun et al. 2022).

The model runs once more on every row that is scored, so a monitor scores a sample of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import UsageError
from mlsecops.monitoring.anomalies import conformal_threshold
from mlsecops.monitoring.products import product
from mlsecops.monitoring.readings import Observed, Reading
from mlsecops.monitoring.tables import as_numbers, as_rate
from mlsecops.monitoring.telemetry import ANOMALY_RATIO

__all__ = ["FeatureAnomalies"]

Floats = NDArray[np.float64]

_FITTED_SHARE: Final = 2 / 3
_KEPT: Final = 2000
_NEIGHBOUR: Final = 10
_SHRINKAGE: Final = 0.05
_NO_SPREAD: Final = 1e-6
_RECENT: Final = 256
_FEWEST: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shape:
    """What ordinary features look like."""

    means: Floats
    whitening: Floats
    kept: Floats

    @classmethod
    def fit(cls, features: Floats, labels: NDArray[np.int64]) -> _Shape:
        classes, places = np.unique(labels, return_inverse=True)
        means = np.array([features[labels == each].mean(axis=0) for each in classes])
        centred = features - means[places]
        covariance = centred.T @ centred / max(len(features) - len(classes), 1)
        # Features that hardly vary would make every distance one of rounding noise.
        level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
        covariance += _SHRINKAGE * level * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        whitening = vectors / np.sqrt(values)
        return cls(means=means @ whitening, whitening=whitening, kept=_on_sphere(features[:_KEPT]))

    def mahalanobis(self, features: Floats) -> Floats:
        squares = _squares(product(features, self.whitening), self.means)
        nearest: Floats = squares.min(axis=1)
        return nearest

    def neighbours(self, features: Floats) -> Floats:
        squares = _squares(_on_sphere(features), self.kept)
        place = min(_NEIGHBOUR, len(self.kept)) - 1
        distant: Floats = np.sqrt(np.partition(squares, place, axis=1)[:, place])
        return distant


class FeatureAnomalies:
    """Detector of inputs that the model's own features find strange.

    Built by ``fit``; pass it as ``detectors=[…]``. It keeps 2,000 feature vectors and the model,
    and lives in memory only.
    """

    control = "Input anomaly in features"

    def __init__(
        self,
        adapter: Adapter | None,
        *,
        shape: tuple[int, ...],
        features: _Shape,
        sample: float,
    ) -> None:
        self._adapter = adapter
        self._shape = shape
        self._features = features
        self._sample = sample
        # Not seeded: whoever could foresee which rows are looked at would send the others.
        self._rng = np.random.default_rng()
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self.thresholds: dict[str, float] = {}

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        model: Any = None,
        false_positive_rate: float = 0.01,
        sample: float = 0.1,
        seed: int = 0,
    ) -> FeatureAnomalies:
        """Learn ordinary features, and calibrate each score on rows that were not learnt from.

        Args:
            x: ``(n, …)`` ordinary inputs, n ≥ 30.
            labels: ``(n,)`` their classes; what the model predicts by default.
            model: A framework's model or its Adapter; without one, or if it has no features, the
                inputs stand for them.
            false_positive_rate: Share of ordinary inputs that each score may flag, in (0, 1).
            sample: Share of a monitor's rows to score, in (0, 1].
            seed: Of the split.

        Raises:
            UsageError: There are too few rows, they are not finite, or shapes do not fit.
        """
        values = as_numbers(x)
        if values.ndim < 2 or len(values) < 30 or not np.isfinite(values).all():  # noqa: PLR2004 - rows by features, and enough of them
            raise UsageError(f"x: expected 30 or more finite rows, got shape {values.shape}")
        if not 0 < sample <= 1:
            raise UsageError(f"sample: expected a share above 0 and up to 1, got {sample}")
        adapter = None if model is None else adapt(model)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(values))
        cut = int(len(values) * _FITTED_SHARE)
        fitted, held = values[order[:cut]], values[order[cut:]]
        classes = _classes(adapter, labels, values)[order[:cut]]
        shape = _Shape.fit(_features(adapter, fitted), classes)
        made = cls(adapter, shape=values.shape[1:], features=shape, sample=sample)
        rate = as_rate(false_positive_rate)
        for name, scores in made.scores(held).items():
            # log-probabilities are no logits: their energy is 0 for every input.
            if name != "energy" or float(np.ptp(scores)) > _NO_SPREAD:
                made.thresholds[name] = conformal_threshold(scores, rate)
        return made

    def scores(self, x: ArrayLike) -> dict[str, Floats]:
        """Scores per detector ``(n,)``; larger is stranger, and what is not finite is strangest.

        Args:
            x: ``(n, …)`` inputs.

        Raises:
            UsageError: They are not inputs of the shape it was fitted on.
        """
        values = as_numbers(x)
        if values.ndim < 1 or values.size != len(values) * int(np.prod(self._shape)):
            raise UsageError(f"x: expected shape (n, {self._shape}), got {values.shape}")
        sound = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        rows = np.where(np.isfinite(values), values, 0.0).reshape(len(values), *self._shape)
        features = _features(self._adapter, rows)
        scores = {
            "mahalanobis": self._features.mahalanobis(features),
            "neighbours": self._features.neighbours(features),
        }
        if self._adapter is not None:
            scores["energy"] = _energy(self._adapter, rows)
        return {name: np.where(sound, each, np.inf) for name, each in scores.items()}

    def flags(self, x: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """Which inputs are over each detector's threshold.

        Raises:
            UsageError: They are not inputs of the shape it was fitted on.
        """
        scores = self.scores(x)
        return {name: scores[name] > limit for name, limit in self.thresholds.items()}

    def observe(self, traffic: Observed) -> Iterable[Reading]:
        """Score a sample of a batch, and say what share of the recent ones is strange."""
        chosen = traffic.rows[self._rng.random(len(traffic.rows)) < self._sample]
        if len(chosen):
            flags = np.any(list(self.flags(chosen).values()), axis=0)
            self._recent.extend(flags.tolist())
        count = len(self._recent)
        if count < _FEWEST or not len(chosen):
            return []
        window = f"last {count} sampled rows, by the model's features"
        share = sum(self._recent) / count
        return [Reading(metric=ANOMALY_RATIO, value=share, window=window)]


def _classes(adapter: Adapter | None, labels: ArrayLike | None, x: Floats) -> NDArray[np.int64]:
    """Class of each row: given, predicted, or one for all."""
    if labels is None:
        if adapter is None:
            return np.zeros(len(x), dtype=np.int64)
        return np.asarray(adapter.predict(x.astype(np.float32)).argmax(axis=1), dtype=np.int64)
    classes = np.asarray(labels)
    if classes.shape != (len(x),):
        raise UsageError(f"labels: expected shape ({len(x)},), got {classes.shape}")
    return classes.astype(np.int64)


def _features(adapter: Adapter | None, x: Floats) -> Floats:
    """The model's features, or the inputs where it has none ``(n, d)``."""
    if adapter is None:
        return x.reshape(len(x), -1)
    try:
        found = adapter.features(x.astype(np.float32))
    except UsageError:
        return x.reshape(len(x), -1)
    return np.asarray(found, dtype=np.float64).reshape(len(x), -1)


def _energy(adapter: Adapter, x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        logits = np.asarray(adapter.logits(x.astype(np.float32)), dtype=np.float64)
    highest = logits.max(axis=1, keepdims=True)
    total: Floats = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return -total


def _on_sphere(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = features / np.maximum(lengths, 1e-12)
    return scaled


def _squares(one: Floats, two: Floats) -> Floats:
    """Squared distances ``(n, m)``."""
    products = -2 * product(one, two.T)
    products += np.square(one).sum(axis=1)[:, None] + np.square(two).sum(axis=1)
    squares: Floats = np.maximum(products, 0.0)
    return squares
