"""What is normal, frozen: distributions of inputs and answers that live traffic is compared with.

x (n, …), probabilities (n, k), labels (n,) → Baseline.fit → drift, anomalies, confidence, accuracy
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._files import write_atomically
from mlsecops.drift.array_files import pack, read, unpack
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.inputs import (
    accuracy_of,
    as_answers,
    as_names,
    as_numbers,
    as_predictions,
    as_rate,
    as_table,
    which,
)
from mlsecops.drift.joint_drift import Embedding, JointDrift
from mlsecops.drift.outliers import Anomalies
from mlsecops.drift.performance_estimation import Calibration, Estimate
from mlsecops.drift.quantile_sketch import Sketch
from mlsecops.drift.reference import Reference
from mlsecops.drift.tests import DriftReport
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.signing.policy import TrustPolicy

__all__ = ["Baseline"]

Floats = NDArray[np.float64]

_KIND: Final = "baseline"
_KEEP: Final = 100_000
_ANSWERS: Final = ("prediction.confidence", "prediction.class")
_PREFIX: Final = "predictions."
_JOINT: Final = "joint."
_MOST_CLASSES: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Reference distributions of a model's inputs and answers.

    Built by `fit` or `load`. It keeps sorted values of every feature on its own, so no row of
    the training data can be read from it.

    Attributes:
        shape: Shape of one input (`(8, 8)`), d numbers in all.
        rows: Number of rows it was fitted on.
        inputs: Distributions of the d features.
        predictions: Distributions of confidence and predicted class, or None if there were no
            probabilities.
        labels: Number of classes k; 0 without probabilities.
        anomalies: Scores of single inputs.
        embedding: Joint distribution of the features.
        accuracy: Accuracy on the labels, or None without labels.
        calibration: How often answers of a confidence are right, or None likewise.
    """

    shape: tuple[int, ...]
    rows: int
    inputs: Reference = field(repr=False)  # a log line must not carry the values of training data
    predictions: Reference | None = field(repr=False)
    labels: int
    anomalies: Anomalies = field(repr=False)
    embedding: Embedding = field(repr=False)
    accuracy: float | None
    calibration: Calibration | None = field(repr=False)

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        probabilities: ArrayLike | None,
        labels: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        categorical: Iterable[str | int] = (),
        false_positive_rate: float = 0.01,
        keep: int = _KEEP,
        seed: int = 0,
    ) -> Baseline:
        """Describe normal inputs and answers.

        Args:
            x: `(n, …)` numbers, one row an input, n ≥ 2; NaN is a missing value.
            probabilities: `(n, k)` of the model on x (best: on data it was not trained on), or
                None for a model without probabilities.
            labels: `(n,)` true classes, for the reference accuracy, and for estimates
                without labels.
            names: d feature names; `f0`, `f1`, … by default.
            categorical: Names or indices of features whose numbers are codes without order.
            false_positive_rate: Share of ordinary inputs that each anomaly score may flag.
            keep: Most rows whose values are kept, at 8 bytes a value (and no more than 64 MiB in
                all); more are thinned out at random.
            seed: Chooses the rows that are kept, and the calibration third.

        Raises:
            UsageError: Shapes do not fit together, or x is no table of numbers.
        """
        values, shape = as_table(x)
        chosen = as_names(names, values.shape[1])
        codes = which(categorical, chosen)
        rng = np.random.default_rng(seed)
        answers = as_answers(probabilities, len(values))
        table = as_predictions(answers)
        accuracy = accuracy_of(table[:, 1], labels)
        inputs = Reference.fit(values, names=chosen, categorical=codes, keep=keep, rng=rng)
        predictions = _reference(table, keep=keep, rng=rng) if answers.size else None
        anomalies = Anomalies.fit(
            values, table[:, 0], false_positive_rate=as_rate(false_positive_rate), rng=rng
        )
        return cls(
            shape=shape,
            rows=len(values),
            inputs=inputs,
            predictions=predictions,
            labels=answers.shape[1],
            anomalies=anomalies,
            embedding=Embedding.fit(values, center=anomalies.mean, spread=anomalies.scale, rng=rng),
            accuracy=accuracy,
            calibration=(
                None if accuracy is None else Calibration.fit(answers, np.asarray(labels))
            ),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the d features."""
        return self.inputs.names

    @property
    def layout(self) -> Layout:
        """Bins of the features' profiles."""
        return self.inputs.layout

    @property
    def confidences(self) -> Floats:
        """Sorted confidences `(m,)`; empty without probabilities."""
        return np.empty(0) if self.predictions is None else self.predictions.sample[0]

    @property
    def classes(self) -> Floats:
        """Share of each predicted class `(k,)`; empty without probabilities."""
        if self.predictions is None:
            return np.empty(0)
        predicted = self.predictions.sample[1].astype(np.int64)
        return np.bincount(predicted, minlength=self.labels) / len(predicted)

    @property
    def confidence(self) -> float | None:
        """Mean confidence, or None without probabilities."""
        return float(self.confidences.mean()) if len(self.confidences) else None

    def profile(self) -> Profile:
        """An empty profile with this baseline's bins."""
        return self.inputs.profile()

    def sketch(self, *, k: int = 200) -> Sketch:
        """An empty sketch of this baseline's features.

        Args:
            k: Size: the error falls and the bytes grow with it, 8 to 65,535.

        Raises:
            MissingExtra: Apache DataSketches is not installed.
        """
        return self.inputs.sketch(k=k)

    def drift(
        self,
        rows_or_profile: ArrayLike | Profile | Sketch,
        *,
        alpha: float = 0.01,
        effect: float = 0.05,
        wasserstein: bool = False,
    ) -> DriftReport:
        """Compare traffic with the baseline, feature by feature.

        Rows are compared exactly; a profile or a sketch within the `error_bound` given with each
        distance.

        Args:
            rows_or_profile: `(n, …)` inputs, or what was counted or sketched of them.
            alpha: Probability of one or more false verdicts over all features, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].
            wasserstein: Whether rows also get their Wasserstein distance, which takes longer.

        Raises:
            UsageError: The rows, the profile or the sketch are not of this baseline's features.
        """
        traffic = rows_or_profile
        if not isinstance(traffic, (Profile, Sketch)):
            traffic = self.table(traffic)
        return self.inputs.drift(
            traffic, alpha=as_rate(alpha), effect=effect, wasserstein=wasserstein
        )

    def joint_drift(self, x: ArrayLike, *, alpha: float = 0.01, seed: int = 0) -> JointDrift:
        """Compare how all features vary together (MMD), which no feature shows on its own.

        Args:
            x: `(n, …)` inputs, n ≥ 1; of more than 2,000 a sample is compared.
            alpha: Probability of a false verdict, in (0, 1).
            seed: Chooses the sample.

        Raises:
            UsageError: They are not inputs of this baseline's shape, or there are none.
        """
        rows = self.table(x)
        if not len(rows):
            raise UsageError("inputs: expected at least one row")
        rng = np.random.default_rng(seed)
        return self.embedding.compare(rows, alpha=as_rate(alpha), rng=rng)

    def prediction_profile(self) -> Profile:
        """An empty profile of confidence and class, for `prediction_table`.

        Raises:
            UsageError: The baseline was fitted without probabilities.
        """
        return self._answered().profile()

    def prediction_drift(
        self,
        probabilities_or_profile: ArrayLike | Profile,
        *,
        alpha: float = 0.01,
        effect: float = 0.05,
    ) -> DriftReport:
        """Compare answers with the baseline: `prediction.confidence` and `prediction.class`.

        Args:
            probabilities_or_profile: `(n, k)` answers, or a profile of `prediction_table`.
            alpha: Probability of a false verdict over both, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].

        Raises:
            UsageError: The baseline was fitted without probabilities, or these are none.
        """
        known, answers = self._answered(), probabilities_or_profile
        if not isinstance(answers, Profile):
            answers = self.prediction_table(answers)
        return known.drift(answers, alpha=as_rate(alpha), effect=effect)

    def prediction_table(self, probabilities: ArrayLike) -> Floats:
        """Confidence and predicted class of each answer `(n, 2)`.

        Args:
            probabilities: `(n, k)`, finite.

        Raises:
            UsageError: They are not probabilities of the baseline's k classes.
        """
        values = np.atleast_2d(as_numbers(probabilities))
        if values.shape[1:] != (self.labels,) or not np.isfinite(values).all():
            raise UsageError(
                f"probabilities: expected finite (n, {self.labels}), got shape {values.shape}"
            )
        return as_predictions(values)

    def estimate(self, probabilities: ArrayLike) -> Estimate:
        """Accuracy to expect of answers whose labels are not known (CBPE).

        Args:
            probabilities: `(n, k)` answers, n ≥ 1.

        Raises:
            UsageError: The baseline was fitted without labels, or these are no answers.
        """
        if self.calibration is None:
            raise UsageError("this baseline knows no labels: fit it with probabilities and labels")
        return self.calibration.estimate(np.atleast_2d(as_numbers(probabilities)))

    def table(self, x: ArrayLike) -> Floats:
        """Inputs as rows `(n, d)`; one input alone is one row.

        Raises:
            UsageError: They are not inputs of this baseline's shape.
        """
        values = as_numbers(x)
        features = len(self.names)
        if values.shape in {self.shape, (features,)}:
            return values.reshape(1, features)
        if values.ndim > 1 and math.prod(values.shape[1:]) == features:
            return values.reshape(len(values), features)
        raise UsageError(f"inputs: expected shape (n, {self.shape}), got {values.shape}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the baseline to a file, without pickle; `sign` it like any artifact.

        Raises:
            OSError: The file cannot be written.
        """
        facts = {
            "names": list(self.names),
            "shape": list(self.shape),
            "rows": self.rows,
            "labels": self.labels,
            "accuracy": self.accuracy,
        }
        arrays = self.inputs.arrays() | self.anomalies.arrays()
        arrays |= {_JOINT + name: each for name, each in self.embedding.arrays().items()}
        if self.predictions is not None:
            arrays |= {_PREFIX + name: each for name, each in self.predictions.arrays().items()}
        if self.calibration is not None:
            arrays["calibration"] = self.calibration.curves
        return write_atomically(path, pack(_KIND, facts, arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, policy: TrustPolicy | None = None) -> Baseline:
        """Read a baseline; nothing in the file can run.

        Args:
            path: The file.
            policy: Who must have signed it (`FILE.sig` beside it); the bytes that were verified
                are those that are read. None reads a file that nobody vouches for.

        Raises:
            FormatRefused: It is not a baseline, is damaged, or contradicts itself.
            LimitExceeded: It is too large.
            VerificationError: A policy was given, and the signature does not hold under it.
            OSError: It cannot be read.
        """
        facts, arrays = unpack(read(path, policy=policy), _KIND, where=str(path))
        try:
            return cls._parse(facts, arrays)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise FormatRefused(f"{path}: malformed baseline: {error!r}") from error

    @classmethod
    def _parse(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Baseline:
        names = tuple(str(name) for name in facts["names"])
        shape = tuple(int(size) for size in facts["shape"])
        if math.prod(shape) != len(names):
            raise FormatRefused("baseline: names and shape do not fit together")
        accuracy, labels = facts["accuracy"], int(facts["labels"])
        curves = arrays.get("calibration")
        answers = _under(_PREFIX, arrays)
        anomalies = Anomalies.from_arrays(arrays, len(names))
        predictions = Reference.from_arrays(_ANSWERS, answers) if labels else None
        if predictions is not None:
            _check_answers(predictions.sample, labels)
        return cls(
            shape=shape,
            rows=int(facts["rows"]),
            inputs=Reference.from_arrays(names, arrays),
            predictions=predictions,
            labels=labels,
            anomalies=anomalies,
            embedding=Embedding.from_arrays(
                _under(_JOINT, arrays), center=anomalies.mean, spread=anomalies.scale
            ),
            accuracy=None if accuracy is None else float(accuracy),
            calibration=None if curves is None else Calibration.from_arrays(curves, labels),
        )

    def _answered(self) -> Reference:
        """Distributions of the answers."""
        if self.predictions is None:
            raise UsageError(
                "this baseline knows no answers: fit it with the model's probabilities"
            )
        return self.predictions


def _reference(table: Floats, *, keep: int, rng: np.random.Generator) -> Reference:
    """Distributions of the answers; a class is a code without order."""
    codes = np.array([False, True])
    return Reference.fit(table, names=_ANSWERS, categorical=codes, keep=keep, rng=rng)


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with a prefix, without it."""
    chosen = {name: each for name, each in arrays.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): each for name, each in chosen.items()}


def _check_answers(sample: Floats, labels: int) -> None:
    """Refuse answers that were read from outside and cannot be any."""
    confidence, predicted = sample
    classes = np.isin(predicted, np.arange(labels)) if labels <= _MOST_CLASSES else False
    if not sample.size or not np.isfinite(confidence).all() or not np.all(classes):
        raise FormatRefused(f"baseline: the answers are not of {labels} classes")
