"""Answers of a reference: their schema, accuracy, calibration and expected loss.

rows, probabilities or predictions, labels → reference_answers → attributes of a Baseline
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlsecops.drift.alarms.row_times import order_of
from mlsecops.drift.answers.answer_schema import Answered, AnswerSchema
from mlsecops.drift.answers.expected_loss import ExpectedLoss
from mlsecops.drift.inputs import Floats, accuracy_of, as_classes
from mlsecops.drift.performance_estimation import Calibration
from mlsecops.drift.reference import Reference
from mlsecops.errors import UsageError

_FEWEST_LOSSES: Final = 200  # rows; chosen: fewer teach nothing about a loss


def reference_answers(
    rows: Floats,
    probabilities: Any,
    predictions: Any,
    labels: Any,
    *,
    seconds: Floats | None,
    keep: int,
    rng: np.random.Generator,
    seed: int,
) -> tuple[dict[str, Any], Floats]:
    """Attributes of a baseline about the answers to rows `(n, d)`, and confidences `(n,)`.

    Raises:
        UsageError: The answers or labels do not fit the rows.
        MissingExtra: Labels of numbers or records need scikit-learn.
    """
    if probabilities is not None and predictions is not None:
        raise UsageError("predictions: expected none with probabilities=; pass one of them")
    facts: dict[str, Any] = dict.fromkeys(
        ("answers", "predictions", "answer_order", "accuracy", "calibration", "expected_loss")
    )
    if probabilities is None and predictions is None:
        return facts, np.empty(0)
    if predictions is None:
        schema, answered = AnswerSchema.of_probabilities(probabilities, len(rows))
    else:
        schema, answered = AnswerSchema.of_predictions(predictions, len(rows))
    known = Reference.fit(
        answered.table, names=schema.names, categorical=schema.categorical, keep=keep, rng=rng
    )
    facts |= {
        "answers": schema,
        "predictions": known,
        "answer_order": order_of(answered.table, known, seconds),
    }
    if labels is not None:
        facts |= _performance(rows, schema, answered, labels, seed)
    return facts, np.empty(0) if answered.probabilities is None else answered.table[:, 0]


def _performance(
    rows: Floats, schema: AnswerSchema, answered: Answered, labels: Any, seed: int
) -> dict[str, Any]:
    """Accuracy and calibration of classes, or the expected loss of other answers."""
    if answered.probabilities is not None:
        truth = as_classes(labels, schema.labels)
        return {
            "accuracy": accuracy_of(answered.table[:, 1], truth),
            "calibration": Calibration.fit(answered.probabilities, truth),
        }
    if len(rows) < _FEWEST_LOSSES:
        return {}
    return {"expected_loss": ExpectedLoss.fit(rows, schema, answered, labels, seed=seed)}
