"""Answers of a reference: their schema, accuracy, calibration and expected loss.

rows, probabilities or predictions, labels → reference_answers → attributes of a Baseline
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops.drift.answers.answer_schema import Answered, AnswerSchema
from mlsecops.drift.answers.expected_loss import ExpectedLoss
from mlsecops.drift.inputs import Floats, accuracy_of, as_classes
from mlsecops.drift.performance_estimation import Calibration
from mlsecops.errors import UsageError

_FEWEST_LOSSES: Final = 200  # rows; chosen: fewer teach nothing about a loss


def reference_answers(
    rows: Floats, probabilities: Any, predictions: Any, labels: Any, seed: int
) -> dict[str, Any]:
    """Schema, accuracy, calibration and loss of the answers."""
    if probabilities is not None and predictions is not None:
        raise UsageError("predictions: expected none beside probabilities=; pass one of them")
    facts = dict.fromkeys(("answers", "answered", "accuracy", "calibration", "expected_loss"))
    if probabilities is None and predictions is None:
        return facts
    schema: AnswerSchema
    answered: Answered
    if predictions is None:
        schema, answered = AnswerSchema.of_probabilities(probabilities, len(rows))
    else:
        schema, answered = AnswerSchema.of_predictions(predictions, len(rows))
    facts |= {"answers": schema, "answered": answered}
    if labels is None:
        return facts
    if answered.probabilities is not None:
        truth = as_classes(labels, schema.labels)
        facts["accuracy"] = accuracy_of(answered.table[:, 1], truth)
        facts["calibration"] = Calibration.fit(answered.probabilities, truth)
    elif len(rows) >= _FEWEST_LOSSES:
        facts["expected_loss"] = ExpectedLoss.fit(rows, schema, answered, labels, seed=seed)
    return facts
