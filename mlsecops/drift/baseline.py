"""Baseline: frozen distributions of a model's inputs and answers, to compare new data with.

x (n, …), answers (n, …), labels (n, …) → Baseline.fit → drift, outliers, expected loss
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlsecops import signing
from mlsecops._choices import checked, one_of, whole
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.drift import baseline_file
from mlsecops.drift.alarms.alarm_rate import AlarmRate
from mlsecops.drift.alarms.row_times import order_of, timed
from mlsecops.drift.alarms.sensitivity import BaselineReport, sensitivity
from mlsecops.drift.alarms.sequential_test import Order
from mlsecops.drift.answers.answer_schema import AnswerSchema
from mlsecops.drift.answers.expected_loss import ExpectedLoss
from mlsecops.drift.answers.reference_answers import reference_answers
from mlsecops.drift.array_files import decode, pack, read
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.inputs import Floats, as_rate, within_range
from mlsecops.drift.joint_drift import Embedding, JointDrift
from mlsecops.drift.outliers import Anomalies
from mlsecops.drift.performance_estimation import Calibration, Estimate
from mlsecops.drift.quantile_sketch import Sketch
from mlsecops.drift.reference import Reference
from mlsecops.drift.tables.dates import Dates
from mlsecops.drift.tables.schema import InputSchema
from mlsecops.drift.tests import DriftReport
from mlsecops.errors import UsageError

_KEEP: Final = 100_000  # rows; a quantile errs by 0.5 % at 99 % (DKW inequality)


@concise_repr("rows", "names", "shape", "labels", "predictions")
@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Reference distributions of a model's inputs and answers, made by `fit` or `load`.

    It holds the sorted values of each feature separately, so that nobody can recover a row.

    Attributes:
        schema: How a table of inputs becomes the d features.
        rows: Number of rows it was fitted on.
        inputs: Distributions of the d features.
        order: What the order of the rows tells about dependence and rhythm.
        answers: How answers become features; None without answers.
        predictions: Distributions of the answers' features (of probabilities: confidence and
            predicted class); None without answers.
        answer_order: As `order`, for the answers.
        anomalies: Outlier scores of single inputs.
        embedding: Joint distribution of the features.
        accuracy: Accuracy on the labels; None without labels of classes.
        calibration: Probability that an answer is correct; None without labels of classes.
        expected_loss: Loss of other answers; None without labels of them.

    Examples:
        >>> x = np.arange(200.0).reshape(100, 2)
        >>> Baseline.fit(x, None, names=["age", "income"]).drift(x + 500).drifted
        ('age', 'income')
    """

    schema: InputSchema
    rows: int
    inputs: Reference = field(repr=False)  # a log line must not carry the values of training data
    order: Order = field(repr=False)
    answers: AnswerSchema | None
    predictions: Reference | None = field(repr=False)
    answer_order: Order | None = field(repr=False)
    anomalies: Anomalies = field(repr=False)
    embedding: Embedding = field(repr=False)
    accuracy: float | None
    calibration: Calibration | None = field(repr=False)
    expected_loss: ExpectedLoss | None = field(repr=False)

    @classmethod
    @checked
    def fit(
        cls,
        x: Any,
        probabilities: Any = None,
        labels: Any = None,
        *,
        predictions: Any = None,
        time: Any = None,
        names: Sequence[str] | None = None,
        categorical: Iterable[str | int] = (),
        dates: Dates = "refuse",
        false_positive_rate: float = 0.01,
        keep: int = _KEEP,
        seed: int = 0,
    ) -> Baseline:
        """Fit a baseline to normal inputs and answers, in the order in which they came.

        Args:
            x: `(n, …)` numbers, pictures or sparse rows, texts, or a table: a pandas, polars or
                Arrow frame, a dict of columns, or records; one row an input, n ≥ 2. NaN, None and
                NA are missing values. Text columns become categories, or length, letters, digits,
                script and surprise (bits a character) if few of them repeat.
            probabilities: `(n, k)` answers to x, or `(n,)` of the positive class, best on data that
                the model was not trained on. Rows that do not sum to one are of several labels.
            labels: True classes `(n,)`, labels `(n, k)` or values, for the reference accuracy and
                the expected loss.
            predictions: Other answers than probabilities, one a row: numbers `(n,)` or `(n, m)`,
                texts, rankings, records, or texts of JSON objects.
            time: `(n,)` times of the rows (dates, ISO texts or Unix seconds), or the name of their
                column in x: traffic is then compared by hour of the day or week.
            names: d feature names; by default the table's, or `f0`, `f1`, ….
            categorical: Names or indices of features whose numbers are codes without order.
            dates: `"refuse"` columns of dates, or `"split"` them into hour, weekday and month.
            false_positive_rate: Share of normal inputs that each outlier score may flag, in (0, 1).
            keep: Most rows to keep, at 8 bytes a value and 64 MiB in all; more are sampled.
            seed: Seeds the sample and the calibration split.

        Raises:
            UsageError: The shapes do not match, or x is not a table.
            MissingExtra: Labels of numbers or records need scikit-learn.
        """
        one_of("dates", dates, ("refuse", "split"))
        rng = np.random.default_rng(whole("seed", seed, "a number from 0 on", least=0))
        x, seconds = timed(x, time)
        schema, rows = InputSchema.fit(x, names=names, categorical=categorical, dates=dates)
        if seconds is not None and len(seconds) != len(rows):
            raise UsageError(f"time: expected {len(rows)} times, one a row, got {len(seconds)}")
        inputs = Reference.fit(
            rows, names=schema.names, categorical=schema.categorical, keep=keep, rng=rng
        )
        facts, confidence = reference_answers(
            rows, probabilities, predictions, labels, seconds=seconds, keep=keep, rng=rng, seed=seed
        )
        bounded = within_range(rows)
        anomalies = Anomalies.fit(
            bounded, confidence, false_positive_rate=as_rate(false_positive_rate), rng=rng
        )
        joint = Embedding.fit(bounded, center=anomalies.mean, spread=anomalies.scale, rng=rng)
        return cls(
            schema=schema,
            rows=len(rows),
            inputs=inputs,
            order=order_of(rows, inputs, seconds),
            anomalies=anomalies,
            embedding=joint,
            **facts,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: `(8, 8)`, or the number of columns of a table."""
        return self.schema.shape

    @property
    def labels(self) -> int:
        """Number of classes k; 0 without probabilities of classes."""
        known = self.answers
        return known.labels if known is not None and known.kind == "classes" else 0

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that only number the rows, which are not watched."""
        return self.schema.ignored

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
        known = self.predictions
        return known.sample[0] if known is not None and self.labels else np.empty(0)

    @property
    def classes(self) -> Floats:
        """Share of each predicted class `(k,)`; empty without probabilities."""
        if self.predictions is None or not self.labels:
            return np.empty(0)
        predicted = self.predictions.sample[1].astype(np.int64)
        return np.bincount(predicted, minlength=self.labels) / len(predicted)

    @property
    def confidence(self) -> float | None:
        """Mean confidence, or None without probabilities."""
        return float(self.confidences.mean()) if len(self.confidences) else None

    def profile(self) -> Profile:
        """An empty profile with this baseline's bins."""
        return Profile(self.layout, read=self.table)

    def sketch(self, *, k: int = 200) -> Sketch:
        """An empty sketch of this baseline's features; its error falls with k, 8 to 65,535.

        Raises:
            MissingExtra: Apache DataSketches is not installed.
        """
        return Sketch(self.names, k=k, read=self.table)

    @checked
    def drift(
        self,
        rows_or_profile: Any,
        *,
        alpha: float = 0.01,
        effect: float = 0.05,
        wasserstein: bool = False,
    ) -> DriftReport:
        """Compare inputs with the baseline, feature by feature.

        Rows are compared exactly, a profile or a sketch within the `error_bound` of each distance.

        Args:
            rows_or_profile: `(n, …)` inputs or a table, or a profile or a sketch of them.
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
    def joint_drift(self, x: Any, *, alpha: float = 0.01, seed: int = 0) -> JointDrift:
        """Compare the joint distribution of all features with the baseline (MMD).

        Args:
            x: `(n, …)` inputs, n ≥ 1; of more than 2,000 a sample is compared.
            alpha: Probability of a false verdict, in (0, 1).
            seed: Seeds the sample.

        Raises:
            UsageError: There are no inputs, or they do not have the baseline's shape.
        """
        rows = within_range(self.table(x))
        if not len(rows):
            raise UsageError("inputs: expected at least one row")
        rng = np.random.default_rng(whole("seed", seed, "a number from 0 on", least=0))
        return self.embedding.compare(rows, alpha=as_rate(alpha), rng=rng)

    def prediction_profile(self) -> Profile:
        """An empty profile of the answers' features, for answers or `prediction_table`.

        Raises:
            UsageError: The baseline was fitted without answers.
        """
        return Profile(self._answers()[1].layout)

    @checked
    def prediction_drift(
        self, answers_or_profile: Any, *, alpha: float = 0.01, effect: float = 0.05
    ) -> DriftReport:
        """Compare answers with the baseline, feature by feature.

        Of probabilities these are `prediction.confidence` and `prediction.class`.

        Args:
            answers_or_profile: Answers as they were fitted, or a profile of `prediction_table`.
            alpha: Family-wise error rate over all features, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].

        Raises:
            UsageError: The baseline was fitted without answers, or they are of another kind.
        """
        _, known = self._answers()
        found = answers_or_profile
        if not isinstance(found, Profile):
            found = self.prediction_table(found)
        return known.drift(found, alpha=as_rate(alpha), effect=effect)

    def prediction_table(self, answers: Any) -> Floats:
        """Features of answers `(n, a)`; of probabilities: confidence and predicted class.

        Raises:
            UsageError: They are not of the baseline's kind, or not of its k classes.
        """
        return self._answers()[0].read(answers).table

    def estimate(self, probabilities: Any) -> Estimate:
        """Estimate the accuracy of answers `(n, k)`, n ≥ 1, without labels (CBPE).

        Raises:
            UsageError: The baseline was fitted without labels, or the answers are malformed.
        """
        if self.calibration is None or self.answers is None:
            raise UsageError("this baseline knows no labels: fit it with probabilities and labels")
        found = self.answers.read(probabilities).probabilities
        return self.calibration.estimate(np.empty((0, 0)) if found is None else found)

    @property
    def loss(self) -> float | None:
        """Mean loss on the labels, as `estimate_loss`; None without labels."""
        if self.accuracy is not None:
            return 1.0 - self.accuracy
        return None if self.expected_loss is None else self.expected_loss.reference

    def estimate_loss(self, x: Any, answers: Any) -> float:
        """Estimate the mean loss of answers to inputs, n ≥ 1, without labels.

        It is the error rate for classes, the share of wrong labels for several labels, the mean
        absolute error for numbers, and the share of wrong answers of another kind.

        Raises:
            UsageError: The baseline was fitted without labels, or the shapes do not fit.
        """
        if self.calibration is not None:
            return 1.0 - self.estimate(answers).accuracy
        if self.expected_loss is None or self.answers is None:
            raise UsageError("this baseline knows no loss: fit it with answers and labels")
        rows = self.table(x)
        if not len(rows):
            raise UsageError("x: expected at least one row")
        table = self.answers.read(answers, len(rows)).table
        return float(self.expected_loss.estimate(rows, table).mean())

    @checked
    def report(
        self,
        false_alarms: str = "1/week",
        *,
        rows: int = 1000,
        rows_per_second: float | None = None,
    ) -> BaselineReport:
        """The smallest shift of each feature that a monitor still finds, at a rate of false alarms.

        Args:
            false_alarms: The declared rate, such as `"1/week"`.
            rows: Rows after the shift within which nine of ten such shifts are found, ≥ 64.
            rows_per_second: Rate of the traffic; by default that of `time`, or 10.

        Raises:
            UsageError: A number is out of range.
        """
        return sensitivity(
            self.inputs,
            self.order,
            AlarmRate.parse(false_alarms),
            rows=whole("rows", rows, "a number of rows from 64 on", least=64),
            rows_per_second=rows_per_second,
        )

    def table(self, x: Any) -> Floats:
        """Inputs as rows `(n, d)` of the features; one input alone is one row.

        Raises:
            UsageError: The inputs do not have this baseline's columns or shape.
        """
        return self.schema.rows(x)

    @checked
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the baseline to a file, without pickle; `sign` it like any artifact.

        Raises:
            OSError: The file cannot be written.
        """
        return write_atomically(path, pack(baseline_file.KIND, *baseline_file.content(self)))

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
        data = read(path, policy=policy)
        return cls(**decode(data, baseline_file.KIND, baseline_file.parse, where=str(path)))

    def _answers(self) -> tuple[AnswerSchema, Reference]:
        if self.answers is None or self.predictions is None:
            raise UsageError(
                "baseline: expected answers; fit it with the model's probabilities or predictions"
            )
        return self.answers, self.predictions
