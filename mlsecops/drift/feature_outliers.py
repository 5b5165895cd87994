"""Outlier scores of inputs in a model's feature space: energy, Mahalanobis and neighbours.

    x (n, …) → the model's features (or the inputs) → energy, mahalanobis, neighbours → flags

- energy: minus the log-sum-exp of the logits (Liu et al. 2020);
- mahalanobis: distance to the nearest class mean under one covariance (Lee et al. 2018);
- neighbours: distance to the tenth nearest of the kept features on the sphere (Sun et al. 2022).

The model runs again on every row that is scored, so `observe` scores only a sample of its rows.
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

from mlsecops import signing
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.adapters import Adapter, adapt
from mlsecops.drift.array_files import decode, pack, read
from mlsecops.drift.inputs import Bools, Counts, Floats, as_numbers, as_rate
from mlsecops.drift.matmul import product, squared_distances
from mlsecops.drift.outliers import conformal_threshold
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.readings import ANOMALY_RATIO, Observed, Reading

_FITTED_SHARE: Final = 2 / 3  # of the rows; chosen: the other third sets the thresholds
_KEPT: Final = 2000  # feature vectors; chosen: bounds memory and the time of a row
_NEIGHBOUR: Final = 10  # rank of the neighbour; chosen: less noisy than the nearest
_SHRINKAGE: Final = 0.05  # of the mean variance; chosen: near-constant features weigh little
_NO_SPREAD: Final = 1e-6  # range of the energies; chosen: rounding noise of log-probabilities
_RECENT: Final = 256  # rows in the window; as `rolling_window.Window`
_FEWEST: Final = 64  # rows before the first reading; as `rolling_window.FEWEST_ROWS`
_KIND: Final = "feature-anomalies"
_SCORES: Final = {"mahalanobis", "neighbours", "energy"}
_PROBES: Final = 4  # inputs; chosen: enough to distinguish two models
_TOLERANCE: Final = 1e-3  # of the largest feature; chosen: above float32 on other hardware
_MOST_FEATURES: Final = 1 << 22  # numbers of an input; chosen: bounds the memory for a probe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _FeatureModel:
    """Class means and covariance of normal features, and some of the features."""

    means: Floats
    whitening: Floats
    kept: Floats

    @classmethod
    def fit(cls, features: Floats, labels: Counts) -> _FeatureModel:
        classes, places = np.unique(labels, return_inverse=True)
        means = np.array([features[labels == each].mean(axis=0) for each in classes])
        centred = features - means[places]
        covariance = centred.T @ centred / max(len(features) - len(classes), 1)
        # Features that hardly vary would turn rounding noise into distance.
        level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
        covariance += _SHRINKAGE * level * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        whitening = vectors / np.sqrt(values)
        return cls(means=means @ whitening, whitening=whitening, kept=_on_sphere(features[:_KEPT]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> _FeatureModel:
        found = {name: arrays[name] for name in cls.__slots__}
        width = found["whitening"].shape[-1]
        sizes = [each.shape for each in found.values()]
        if found["whitening"].shape != (width, width) or not all(
            len(size) == 2 and size[0] and size[1] == width  # noqa: PLR2004 - rows by features
            for size in sizes
        ):
            raise FormatRefused("feature anomalies: expected arrays of one width")
        if not all(each.dtype == np.float64 and np.isfinite(each).all() for each in found.values()):
            raise FormatRefused("feature anomalies: expected finite float64 numbers")
        return cls(**found)

    def mahalanobis(self, features: Floats) -> Floats:
        whitened = product(features, self.whitening)
        return np.asarray(squared_distances(whitened, self.means).min(axis=1))

    def neighbours(self, features: Floats) -> Floats:
        squares = squared_distances(_on_sphere(features), self.kept)
        place = min(_NEIGHBOUR, len(self.kept)) - 1
        return np.asarray(np.sqrt(np.partition(squares, place, axis=1)[:, place]))


@concise_repr("thresholds")
class FeatureAnomalies:
    """Detector of inputs that are outliers in the model's feature space.

    Made by `fit` or `load`. It holds 2,000 feature vectors and the model; `save` writes all but the
    model.

    Examples:
        >>> detector = FeatureAnomalies.fit(np.random.default_rng(0).normal(size=(900, 4)))
        >>> detector.flags([[99.0] * 4])["mahalanobis"]
        array([ True])
    """

    control = "Input anomaly in features"

    def __init__(
        self,
        adapter: Adapter | None,
        *,
        shape: tuple[int, ...],
        features: _FeatureModel,
        sample: float,
    ) -> None:
        self._adapter = adapter
        self._shape = shape
        self._features = features
        self._sample = sample
        # Not seeded: an attacker who could predict the sample would evade it.
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
        """Fit the scores to normal inputs, and calibrate their thresholds on held-out rows.

        Args:
            x: `(n, …)` normal inputs, n ≥ 30.
            labels: `(n,)` their classes; the model's predictions by default.
            model: A framework's model or its Adapter; without features the inputs are used.
            false_positive_rate: Share of normal inputs that each score may flag, in (0, 1).
            sample: Share of the rows that `observe` scores, in (0, 1].
            seed: Seeds the split.

        Raises:
            UsageError: There are too few rows, they are not finite, or the shapes do not match.
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
        shape = _FeatureModel.fit(_features(adapter, fitted), classes)
        made = cls(adapter, shape=values.shape[1:], features=shape, sample=sample)
        rate = as_rate(false_positive_rate)
        for name, scores in made.scores(held).items():
            # Log-probabilities are no logits: their energy is 0 for every input.
            if name != "energy" or float(np.ptp(scores)) > _NO_SPREAD:
                made.thresholds[name] = conformal_threshold(scores, rate)
        return made

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all but the model to a file, as `Baseline.save` does."""
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
        policy: signing.TrustPolicy | None = None,
    ) -> FeatureAnomalies:
        """Read a detector, with the further arguments and exceptions of `Baseline.load`.

        Args:
            path: The file.
            model: The model that it was fitted with, or its Adapter.
            policy: Who must have signed it, in `FILE.sig`; None reads an unsigned file.

        Raises:
            UsageError: The model is another one, or it is missing.
        """
        fitted, limits, needs_model, probe = decode(
            read(path, policy=policy), _KIND, _parse, where=str(path)
        )
        if needs_model != (model is not None):
            needed = "the model it was fitted with" if needs_model else "no model"
            raise UsageError(f"model: this detector needs {needed}")
        adapter = None if model is None else adapt(model)
        _check_same_model(adapter, fitted["shape"], probe)
        made = cls(adapter, **fitted)
        made.thresholds = limits
        return made

    def scores(self, x: ArrayLike) -> dict[str, Floats]:
        """Scores `(n,)` of inputs `(n, …)` by detector; a larger one is more unusual.

        Raises:
            UsageError: The inputs do not have the shape it was fitted on.
        """
        values = as_numbers(x)
        if values.ndim < 1 or values.size != len(values) * int(np.prod(self._shape)):
            raise UsageError(f"x: expected shape (n, {self._shape}), got {values.shape}")
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        rows = np.where(np.isfinite(values), values, 0.0).reshape(len(values), *self._shape)
        features = _features(self._adapter, rows)
        scores = {
            "mahalanobis": self._features.mahalanobis(features),
            "neighbours": self._features.neighbours(features),
        }
        if self._adapter is not None:
            scores["energy"] = _energy(self._adapter, rows)
        return {name: np.where(finite, each, np.inf) for name, each in scores.items()}

    def flags(self, x: ArrayLike) -> dict[str, Bools]:
        """Inputs over the threshold of each detector `(n,)`; raises as `scores`."""
        scores = self.scores(x)
        return {name: scores[name] > limit for name, limit in self.thresholds.items()}

    def observe(self, traffic: Observed) -> Iterable[Reading]:
        """Score a sample of a batch, and return the share of outliers among recent ones."""
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


def _parse(
    facts: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> tuple[dict[str, Any], dict[str, float], bool, Floats]:
    """Shape, features and sample; thresholds; whether a model belongs to it, and its probe."""
    shape, sample = tuple(int(size) for size in facts["shape"]), float(facts["sample"])
    scores, limits, probe = list(facts["scores"]), arrays["thresholds"], arrays["probe"]
    if not 0 < sample <= 1 or min(shape, default=1) < 1 or math.prod(shape) > _MOST_FEATURES:
        raise FormatRefused("feature anomalies: an impossible shape of inputs, or sample")
    known = _SCORES if facts["model"] else _SCORES - {"energy"}
    if not set(scores) <= known or limits.shape != (len(scores),) or np.isnan(limits).any():
        raise FormatRefused("feature anomalies: expected one threshold for each score")
    features = _FeatureModel.from_arrays(arrays)
    if probe.shape[1:] != features.whitening.shape[:1]:
        raise FormatRefused("feature anomalies: the probe and the features differ in width")
    fitted = {"shape": shape, "features": features, "sample": sample}
    return fitted, dict(zip(scores, limits.tolist(), strict=True)), bool(facts["model"]), probe


def _probed(adapter: Adapter | None, shape: tuple[int, ...]) -> Floats:
    """Features of a few fixed inputs, which identify a model."""
    rows = np.random.default_rng(0).uniform(size=(_PROBES, *shape))
    return _features(adapter, rows)


def _check_same_model(adapter: Adapter | None, shape: tuple[int, ...], probe: Floats) -> None:
    try:
        seen = _probed(adapter, shape)
    except Exception as error:  # a framework may raise anything
        raise UsageError(f"model: expected one for inputs of shape {shape}: {error}") from error
    spread = float(np.abs(seen).max(initial=0.0))
    if seen.shape != probe.shape or not np.allclose(
        seen, probe, rtol=_TOLERANCE, atol=_TOLERANCE * spread
    ):
        raise UsageError("model: its features are not those that this detector was fitted on")


def _classes(adapter: Adapter | None, labels: ArrayLike | None, x: Floats) -> Counts:
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
    return np.asarray(-(highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))))


def _on_sphere(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12))
