"""Baseline: frozen distributions of a model's inputs and answers, to compare new data with.

x (n, …), probabilities (n, k), labels (n,) → Baseline.fit → drift, outliers, expected accuracy
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

from mlsecops import signing
from mlsecops._choices import checked, whole
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.drift.array_files import decode, pack, read
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.inputs import (
    Floats,
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

_KIND: Final = "baseline"
_KEEP: Final = 100_000  # rows; a quantile errs by 0.5 % at 99 % (DKW inequality)
_ANSWERS: Final = ("prediction.confidence", "prediction.class")
_PREFIX: Final = "predictions."
_JOINT: Final = "joint."
_MOST_CLASSES: Final = 1_000_000  # classes; chosen: bounds what an untrusted file can ask for


@concise_repr("rows", "names", "shape", "labels", "predictions")
@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Reference distributions of a model's inputs and answers, made by `fit` or `load`.

    It holds the sorted values of each feature separately, so that nobody can recover a row.

    Attributes:
        shape: Shape of one input (`(8, 8)`), d numbers in all.
        rows: Number of rows it was fitted on.
        inputs: Distributions of the d features.
        predictions: Distributions of confidence and predicted class; None without probabilities.
        labels: Number of classes k; 0 without probabilities.
        anomalies: Outlier scores of single inputs.
        embedding: Joint distribution of the features.
        accuracy: Accuracy on the labels; None without labels.
        calibration: Probability that an answer is correct; None without labels.

    Examples:
        >>> x = np.arange(200.0).reshape(100, 2)
        >>> Baseline.fit(x, None, names=["age", "income"]).drift(x + 500).drifted
        ('age', 'income')
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
    @checked
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
        """Fit a baseline to normal inputs and answers.

        Args:
            x: `(n, …)` numbers, one row an input, n ≥ 2; NaN is a missing value.
            probabilities: `(n, k)` answers to x, best on data that the model was not trained on; or
                None.
            labels: `(n,)` true classes, for the reference accuracy and for `estimate`.
            names: d feature names; `f0`, `f1`, … by default.
            categorical: Names or indices of features whose numbers are codes without order.
            false_positive_rate: Share of normal inputs that each outlier score may flag, in (0, 1).
            keep: Most rows to keep, at 8 bytes a value and 64 MiB in all; more are sampled.
            seed: Seeds the sample and the calibration split.

        Raises:
            UsageError: The shapes do not match, or x is not a table of numbers.
        """
        values, shape = as_table(x)
        chosen = as_names(names, values.shape[1])
        codes = which(categorical, chosen)
        rng = np.random.default_rng(whole("seed", seed, "a number from 0 on", least=0))
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
        """Bins of the features."""
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
        return Profile(self.layout)

    def sketch(self, *, k: int = 200) -> Sketch:
        """An empty sketch of this baseline's features; its error falls with k, 8 to 65,535.

        Raises:
            MissingExtra: Apache DataSketches is not installed.
        """
        return Sketch(self.names, k=k)

    @checked
    def drift(
        self,
        rows_or_profile: ArrayLike | Profile | Sketch,
        *,
        alpha: float = 0.01,
        effect: float = 0.05,
        wasserstein: bool = False,
    ) -> DriftReport:
        """Compare inputs with the baseline, feature by feature.

        Rows are compared exactly, a profile or a sketch within the `error_bound` of each distance.

        Args:
            rows_or_profile: `(n, …)` inputs, or a profile or a sketch of them.
            alpha: Family-wise error rate over all features, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].
            wasserstein: Whether to compute the Wasserstein distance of rows, which takes longer.

        Raises:
            UsageError: The rows, the profile or the sketch do not have this baseline's features.
        """
        data = rows_or_profile
        if not isinstance(data, (Profile, Sketch)):
            data = self.table(data)
        return self.inputs.drift(data, alpha=as_rate(alpha), effect=effect, wasserstein=wasserstein)

    @checked
    def joint_drift(self, x: ArrayLike, *, alpha: float = 0.01, seed: int = 0) -> JointDrift:
        """Compare the joint distribution of all features with the baseline (MMD).

        Args:
            x: `(n, …)` inputs, n ≥ 1; of more than 2,000 a sample is compared.
            alpha: Probability of a false verdict, in (0, 1).
            seed: Seeds the sample.

        Raises:
            UsageError: There are no inputs, or they do not have the baseline's shape.
        """
        rows = self.table(x)
        if not len(rows):
            raise UsageError("inputs: expected at least one row")
        rng = np.random.default_rng(whole("seed", seed, "a number from 0 on", least=0))
        return self.embedding.compare(rows, alpha=as_rate(alpha), rng=rng)

    def prediction_profile(self) -> Profile:
        """An empty profile of confidence and class, for `prediction_table`.

        Raises:
            UsageError: The baseline was fitted without probabilities.
        """
        return Profile(self._answers().layout)

    @checked
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
            alpha: Family-wise error rate over both, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].

        Raises:
            UsageError: The baseline was fitted without probabilities, or the answers are malformed.
        """
        known, answers = self._answers(), probabilities_or_profile
        if not isinstance(answers, Profile):
            answers = self.prediction_table(answers)
        return known.drift(answers, alpha=as_rate(alpha), effect=effect)

    def prediction_table(self, probabilities: ArrayLike) -> Floats:
        """Confidence and predicted class `(n, 2)` of finite answers `(n, k)`.

        Raises:
            UsageError: They do not have the baseline's k classes.
        """
        values = np.atleast_2d(as_numbers(probabilities))
        if values.shape[1:] != (self.labels,) or not np.isfinite(values).all():
            raise UsageError(
                f"probabilities: expected finite (n, {self.labels}), got shape {values.shape}"
            )
        return as_predictions(values)

    def estimate(self, probabilities: ArrayLike) -> Estimate:
        """Estimate the accuracy of answers `(n, k)`, n ≥ 1, without labels (CBPE).

        Raises:
            UsageError: The baseline was fitted without labels, or the answers are malformed.
        """
        if self.calibration is None:
            raise UsageError("this baseline knows no labels: fit it with probabilities and labels")
        return self.calibration.estimate(np.atleast_2d(as_numbers(probabilities)))

    def table(self, x: ArrayLike) -> Floats:
        """Inputs as rows `(n, d)`; one input alone is one row.

        Raises:
            UsageError: The inputs do not have this baseline's shape.
        """
        values = as_numbers(x)
        features = len(self.names)
        if values.shape in {self.shape, (features,)}:
            return values.reshape(1, features)
        if values.ndim > 1 and math.prod(values.shape[1:]) == features:
            return values.reshape(len(values), features)
        raise UsageError(f"inputs: expected shape (n, {self.shape}), got {values.shape}")

    @checked
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
    @checked
    def load(
        cls, path: str | os.PathLike[str], *, policy: signing.TrustPolicy | None = None
    ) -> Baseline:
        """Read a baseline; nothing in the file can run.

        Args:
            path: The file.
            policy: Who must have signed it, in `FILE.sig`; None reads an unsigned file.

        Raises:
            FormatRefused: The file is not a baseline, is damaged, or contradicts itself.
            LimitExceeded: The file is too large.
            VerificationError: The signature does not satisfy the policy.
            OSError: The file cannot be read.
        """
        return decode(read(path, policy=policy), _KIND, cls._parse, where=str(path))

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

    def _answers(self) -> Reference:
        if self.predictions is None:
            raise UsageError("baseline: expected answers; fit it with the model's probabilities")
        return self.predictions


def _reference(table: Floats, *, keep: int, rng: np.random.Generator) -> Reference:
    codes = np.array([False, True])
    return Reference.fit(table, names=_ANSWERS, categorical=codes, keep=keep, rng=rng)


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }


def _check_answers(sample: Floats, labels: int) -> None:
    confidence, predicted = sample
    classes = np.isin(predicted, np.arange(labels)) if labels <= _MOST_CLASSES else False
    if not sample.size or not np.isfinite(confidence).all() or not np.all(classes):
        raise FormatRefused(f"baseline: the answers are not of {labels} classes")
