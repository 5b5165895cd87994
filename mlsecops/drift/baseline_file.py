"""Baseline file: serialisation of a baseline, and bounded parsing of untrusted bytes.

Baseline → content → facts, arrays → parse → attributes of a Baseline
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.alarms.sequential_test import Order
from mlsecops.drift.answers.answer_schema import CLASS_NAMES, AnswerSchema
from mlsecops.drift.answers.expected_loss import ExpectedLoss
from mlsecops.drift.inputs import Floats
from mlsecops.drift.joint_drift import Embedding
from mlsecops.drift.outliers import Anomalies
from mlsecops.drift.performance_estimation import Calibration
from mlsecops.drift.reference import Reference
from mlsecops.drift.tables.schema import InputSchema
from mlsecops.errors import FormatRefused

KIND: Final = "baseline"

_ANSWERS: Final = "predictions."
_JOINT: Final = "joint."
_ORDER: Final = "order."
_ANSWER_ORDER: Final = "predictions-order."
_LOSS: Final = "loss."

Arrays = dict[str, NDArray[Any]]


def content(baseline: Any) -> tuple[dict[str, Any], Arrays]:
    """Facts for JSON, and arrays of numbers, of a `Baseline`."""
    facts = {
        "names": list(baseline.names),
        "rows": baseline.rows,
        "accuracy": baseline.accuracy,
        "schema": baseline.schema.to_dict(),
        "answers": None if baseline.answers is None else baseline.answers.to_dict(),
    }
    arrays: Arrays = baseline.inputs.arrays() | baseline.anomalies.arrays()
    parts = {
        _JOINT: baseline.embedding,
        _ORDER: baseline.order,
        _ANSWERS: baseline.predictions,
        _ANSWER_ORDER: baseline.answer_order,
        _LOSS: baseline.expected_loss,
    }
    for prefix, part in parts.items():
        if part is not None:
            arrays |= {prefix + name: each for name, each in part.arrays().items()}
    if baseline.calibration is not None:
        arrays["calibration"] = baseline.calibration.curves
    return facts, arrays


def parse(facts: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Attributes of a baseline; raises `FormatRefused` or another error if they do not fit."""
    names = tuple(str(name) for name in facts["names"])
    inputs = Reference.from_arrays(names, arrays)
    anomalies = Anomalies.from_arrays(arrays, len(names))
    accuracy = None if facts["accuracy"] is None else float(facts["accuracy"])
    if accuracy is not None and not math.isfinite(accuracy):
        raise FormatRefused("baseline: the accuracy is no number")
    return {
        "schema": InputSchema.from_dict(facts["schema"], names, inputs.categorical),
        "rows": int(facts["rows"]),
        "inputs": inputs,
        "order": Order.from_arrays(_under(_ORDER, arrays), inputs),
        "anomalies": anomalies,
        "embedding": Embedding.from_arrays(
            _under(_JOINT, arrays), center=anomalies.mean, spread=anomalies.scale
        ),
        "accuracy": accuracy,
    } | _answers(facts["answers"], arrays, len(names))


def _answers(facts: dict[str, Any] | None, arrays: Arrays, features: int) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(
        ("answers", "predictions", "answer_order", "calibration", "expected_loss")
    )
    if facts is None:
        return found
    part = _under(_ANSWERS, arrays)
    predictions = Reference.from_arrays(tuple(str(name) for name in facts["names"]), part)
    schema = AnswerSchema.from_dict(facts, predictions.categorical)
    if schema.names == CLASS_NAMES:
        _check_classes(predictions.sample, schema.labels)
    curves, loss = arrays.get("calibration"), _under(_LOSS, arrays)
    return found | {
        "answers": schema,
        "predictions": predictions,
        "answer_order": Order.from_arrays(_under(_ANSWER_ORDER, arrays), predictions),
        "calibration": None if curves is None else Calibration.from_arrays(curves, schema.labels),
        "expected_loss": ExpectedLoss.from_arrays(loss, schema, features) if loss else None,
    }


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }


def _check_classes(sample: Floats, labels: int) -> None:
    confidence, predicted = sample
    if not sample.size or not np.isfinite(confidence).all():
        raise FormatRefused(f"baseline: the answers are not of {labels} classes")
    if not np.isin(predicted, np.arange(labels)).all():
        raise FormatRefused(f"baseline: the answers are not of {labels} classes")
