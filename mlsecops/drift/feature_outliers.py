"""Which inputs look strange from inside the model: three scores over its features and logits.

x (n, …) → the model's features (or the inputs themselves) → energy, Mahalanobis, neighbours → flags

- energy: minus the log-sum-exp of the logits (Liu et al. 2020);
- mahalanobis: distance to the nearest class mean under one covariance (Lee et al. 2018);
- neighbours: distance to the tenth nearest of the kept features on the sphere (Sun et al. 2022).

The model runs once more on every row that is scored, so a monitor scores a sample of them.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._files import write_atomically
from mlsecops.adapters import Adapter, adapt
from mlsecops.drift.array_files import pack, read, unpack
from mlsecops.drift.inputs import as_numbers, as_rate
from mlsecops.drift.matmul import product
from mlsecops.drift.outliers import conformal_threshold
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.readings import ANOMALY_RATIO, Observed, Reading
from mlsecops.signing.policy import TrustPolicy

__all__ = ["FeatureAnomalies"]

Floats = NDArray[np.float64]

_FITTED_SHARE: Final = 2 / 3
_KEPT: Final = 2000
_NEIGHBOUR: Final = 10
_SHRINKAGE: Final = 0.05
_NO_SPREAD: Final = 1e-6
_RECENT: Final = 256
_FEWEST: Final = 64
_KIND: Final = "feature-anomalies"
_SCORES: Final = {"mahalanobis", "neighbours", "energy"}
_PROBES: Final = 4
_ALIKE: Final = 1e-3
_MOST_FEATURES: Final = 1 << 22


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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a file."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> _Shape:
        """Read back what `arrays` gave.

        Raises:
            FormatRefused: An array cannot be one of ours.
            KeyError: An array is absent.
        """
        found = {name: arrays[name] for name in cls.__slots__}
        width = found["whitening"].shape[-1]
        sizes = [each.shape for each in found.values()]
        if found["whitening"].shape != (width, width) or not all(
            len(size) == 2 and size[0] and size[1] == width  # noqa: PLR2004 - rows by features
            for size in sizes
        ):
            raise FormatRefused("feature anomalies: the arrays are not of one width")
        if not all(each.dtype == np.float64 and np.isfinite(each).all() for each in found.values()):
            raise FormatRefused("feature anomalies: expected finite float64 numbers")
        return cls(**found)

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

    Built by `fit` or `load`; pass it as `detectors=[…]`. It keeps 2,000 feature vectors and
    the model; a file of it holds all but the model.
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
            x: `(n, …)` ordinary inputs, n ≥ 30.
            labels: `(n,)` their classes; what the model predicts by default.
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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all but the model to a file, without pickle; `sign` it like any artifact.

        Raises:
            OSError: The file cannot be written.
        """
        facts = {
            "shape": list(self._shape),
            "sample": self._sample,
            "model": self._adapter is not None,
            "scores": list(self.thresholds),
        }
        arrays = self._features.arrays()
        arrays["thresholds"] = np.array(list(self.thresholds.values()))
        arrays["probe"] = _probed(self._adapter, self._shape)
        return write_atomically(path, pack(_KIND, facts, arrays))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        model: Any = None,
        policy: TrustPolicy | None = None,
    ) -> FeatureAnomalies:
        """Read a detector; nothing in the file can run.

        Args:
            path: The file.
            model: The model that it was fitted with, or its Adapter.
            policy: Who must have signed the file (`FILE.sig` beside it), or None.

        Raises:
            UsageError: The model is another one, or it is missing.
            FormatRefused: It is no detector, is damaged, or contradicts itself.
            LimitExceeded: It is too large.
            VerificationError: A policy was given, and the signature does not hold under it.
            OSError: It cannot be read.
        """
        facts, arrays = unpack(read(path, policy=policy), _KIND, where=str(path))
        adapter = None if model is None else adapt(model)
        try:
            return cls._parse(facts, arrays, adapter)
        except UsageError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise FormatRefused(f"{path}: malformed feature anomalies: {error!r}") from error

    @classmethod
    def _parse(
        cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]], adapter: Adapter | None
    ) -> FeatureAnomalies:
        shape, sample = tuple(int(size) for size in facts["shape"]), float(facts["sample"])
        scores, limits, probe = list(facts["scores"]), arrays["thresholds"], arrays["probe"]
        if bool(facts["model"]) != (adapter is not None):
            needed = "the model it was fitted with" if facts["model"] else "no model"
            raise UsageError(f"model: this detector needs {needed}")
        if not 0 < sample <= 1 or min(shape, default=1) < 1 or math.prod(shape) > _MOST_FEATURES:
            raise FormatRefused("feature anomalies: an impossible shape of inputs, or sample")
        known = _SCORES if adapter is not None else _SCORES - {"energy"}
        if not set(scores) <= known or limits.shape != (len(scores),) or np.isnan(limits).any():
            raise FormatRefused("feature anomalies: expected one threshold for each score")
        features = _Shape.from_arrays(arrays)
        if probe.shape[1:] != features.whitening.shape[:1]:
            raise FormatRefused("feature anomalies: the probe and the features differ in width")
        _demand_same_model(adapter, shape, probe)
        made = cls(adapter, shape=shape, features=features, sample=sample)
        made.thresholds = dict(zip(scores, limits.tolist(), strict=True))
        return made

    def scores(self, x: ArrayLike) -> dict[str, Floats]:
        """Scores per detector `(n,)`; larger is stranger, and what is not finite is strangest.

        Args:
            x: `(n, …)` inputs.

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


def _probed(adapter: Adapter | None, shape: tuple[int, ...]) -> Floats:
    """Features of a few fixed inputs: they tell a model from another."""
    rows = np.random.default_rng(0).uniform(size=(_PROBES, *shape))
    return _features(adapter, rows)


def _demand_same_model(adapter: Adapter | None, shape: tuple[int, ...], probe: Floats) -> None:
    """Refuse a model whose features of the fixed inputs are others."""
    try:
        seen = _probed(adapter, shape)
    except Exception as error:  # a framework raises what it likes
        raise UsageError(f"model: it takes no inputs of shape {shape}: {error}") from error
    spread = float(np.abs(seen).max(initial=0.0))
    if seen.shape != probe.shape or not np.allclose(seen, probe, rtol=_ALIKE, atol=_ALIKE * spread):
        raise UsageError("model: its features are not those that this detector was fitted on")


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
    """The model's features, or the inputs where it has none `(n, d)`."""
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
    """Squared distances `(n, m)`."""
    products = -2 * product(one, two.T)
    products += np.square(one).sum(axis=1)[:, None] + np.square(two).sum(axis=1)
    squares: Floats = np.maximum(products, 0.0)
    return squares
