"""Expected loss of answers without labels, for every kind of answer.

    inputs, answers, labels → ExpectedLoss.fit → ExpectedLoss.estimate(later inputs, answers) → (n,)

The loss is one minus accuracy for classes, the share of wrong labels for several labels, the mean
absolute error for numbers, and 1 for each wrong answer of another kind. Classes and labels are
calibrated (`performance_estimation`); the loss of other answers is learnt (`loss_estimation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.answers.answer_schema import Answered, AnswerSchema, answer_columns
from mlsecops.drift.boosted_trees import Trees
from mlsecops.drift.inputs import Floats
from mlsecops.drift.loss_estimation import LossEstimator
from mlsecops.drift.performance_estimation import Calibration
from mlsecops.drift.tables.schema import InputSchema
from mlsecops.errors import FormatRefused, UsageError

_TREES = "trees."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedLoss:
    """Loss to expect of an answer.

    Attributes:
        reference: Mean loss on the reference's labels, ≥ 0.
        curves: Calibrations of each label, one below the other `(2k, 3)`; None for values.
        estimator: Learnt loss of values; None for labels.
    """

    reference: float
    curves: Floats | None = None
    estimator: LossEstimator | None = None

    @classmethod
    def fit(
        cls, rows: Floats, schema: AnswerSchema, answered: Answered, labels: Any, *, seed: int
    ) -> ExpectedLoss:
        """Learn the loss of answers to rows `(n, d)` from their labels.

        Raises:
            UsageError: The labels are not of the answers' shape.
            MissingExtra: scikit-learn is not installed, which learns the loss of values.
        """
        if schema.kind == "labels":
            return cls._of_labels(answered.table[:, : schema.labels], labels)
        losses = _losses(schema, answered.table, labels)
        zeros = np.zeros(len(losses))
        learnt = LossEstimator.fit(_joined(rows, answered.table), zeros, losses, seed=seed)
        return cls(reference=float(losses.mean()), estimator=learnt)

    @classmethod
    def _of_labels(cls, table: Floats, labels: Any) -> ExpectedLoss:
        truth = np.asarray(labels)
        if truth.shape != table.shape:
            raise UsageError(f"labels: expected shape {table.shape}, got {truth.shape}")
        wrong = (table >= 0.5) != (truth > 0)  # noqa: PLR2004 - a label is predicted from one half on
        pairs = [_two(table[:, i]) for i in range(table.shape[1])]
        curves = [
            Calibration.fit(pair, (truth[:, i] > 0).astype(np.int64)).curves
            for i, pair in enumerate(pairs)
        ]
        return cls(reference=float(wrong.mean()), curves=np.concatenate(curves))

    def estimate(self, rows: Floats, answers: Floats) -> Floats:
        """Expected loss of each answer `(n, a)` to rows `(n, d)`, `(n,)`."""
        if self.estimator is not None:
            return self.estimator.losses(_joined(rows, answers), np.zeros(len(rows)))
        if self.curves is None:
            raise UsageError("this baseline knows no loss: fit it with labels")
        parts = [
            Calibration(curves=self.curves[2 * i : 2 * i + 2]).right(_two(answers[:, i]))
            for i in range(len(self.curves) // 2)
        ]
        return np.asarray(1.0 - np.mean(parts, axis=0), dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        found: dict[str, NDArray[Any]] = {"reference": np.array([self.reference])}
        if self.curves is not None:
            found["curves"] = self.curves
        if self.estimator is not None:
            found |= {_TREES + k: v for k, v in self.estimator.trees.arrays().items()}
        return found

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], schema: AnswerSchema, features: int
    ) -> ExpectedLoss:
        """Rebuild from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        reference, curves = float(arrays["reference"][0]), arrays.get("curves")
        if not np.isfinite(reference) or (curves is None) == (schema.kind == "labels"):
            raise FormatRefused("baseline: the expected loss does not fit the answers")
        if curves is not None:
            if curves.shape != (2 * schema.labels, 3) or not np.isfinite(curves).all():
                raise FormatRefused("baseline: the calibrations do not fit the labels")
            return cls(reference=reference, curves=curves.astype(np.float64, copy=False))
        grown = {k.removeprefix(_TREES): v for k, v in arrays.items() if k.startswith(_TREES)}
        width = features + len(schema.names) + 1
        trees = Trees.from_arrays(grown, width)
        learnt = LossEstimator(trees, features=width, loss="absolute")
        return cls(reference=reference, estimator=learnt)


def _losses(schema: AnswerSchema, table: Floats, labels: Any) -> Floats:
    """Absolute error of numbers, else 1 for an answer that is not the label."""
    found = answer_columns(labels, parse="mostly")
    try:
        truth = schema.read(labels).table
    except UsageError:
        truth = InputSchema.fit(found, argument="labels")[1]
    if truth.shape != table.shape:
        raise UsageError(f"labels: expected shape {table.shape}, got {truth.shape}")
    both = np.isnan(truth) & np.isnan(table)
    if schema.categorical.any():
        return np.asarray(((truth != table) & ~both).any(axis=1), dtype=np.float64)
    return np.asarray(np.nanmean(np.abs(np.where(both, 0.0, truth - table)), axis=1))


def _joined(rows: Floats, answers: Floats) -> Floats:
    return np.concatenate([rows, answers], axis=1)


def _two(positive: Floats) -> Floats:
    return np.column_stack([1.0 - positive, positive])
