"""Accuracy by class, and the most confident misclassifications.

report, labels → `by_class` → Breakdown; report, samples, labels → `worst_cases` → Cases
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters import adapt
from mlsecops.adapters.answers.class_names import label_columns
from mlsecops.errors import UsageError
from mlsecops.robustness.report import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.report import RobustnessReport


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Breakdown:
    """Accuracy by class.

    Attributes:
        classes: Labels that occur, in order.
        rows: Figures of every class for `"clean"`, each attack and `"worst"`.
    """

    classes: tuple[int | str, ...]
    rows: Mapping[str, tuple[Figure, ...]]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """An adversarial example.

    Attributes:
        row: Index of the sample.
        label: True class.
        answer: Class that the model predicts for the example.
        confidence: Predicted probability of that class.
        distance: Largest change of one element, in units of the input.
        original: The sample, `shape`.
        example: The adversarial example, `shape`.
    """

    row: int
    label: int
    answer: int
    confidence: float
    distance: float
    original: Array
    example: Array


@checked
def by_class(report: RobustnessReport, y: Any) -> Breakdown:
    """Split each figure of a report by the true class.

    Args:
        report: From `evaluate_robustness`, or read from a file with each sample's outcome.
        y: The evaluated labels, `(n,)`.

    Raises:
        UsageError: The labels are not those of the report, or it has no outcomes.
    """
    labels = _labels(report, y)
    classes = tuple(np.unique(labels).tolist())
    figures = {"clean": report.clean, **report.attacks, "worst": report.worst}
    return Breakdown(
        classes=classes,
        rows={
            name: tuple(Figure.of(name, figure.correct[labels == each]) for each in classes)
            for name, figure in figures.items()
        },
    )


@checked
def worst_cases(
    model_or_adapter: Any, report: RobustnessReport, x: Any, y: Any, *, count: int = 8
) -> tuple[Case, ...]:
    """The adversarial examples with the most confident wrong predictions, in that order.

    Samples that are misclassified without an attack are excluded.

    Args:
        model_or_adapter: The evaluated model.
        report: Its report, from `evaluate_robustness`, with the examples.
        x: The evaluated inputs, `(n, *shape)`.
        y: Their labels `(n,)`.
        count: Most cases to return.

    Raises:
        UsageError: The samples are not those of the report, or it has no examples.
    """
    names, originals = _labels(report, y), np.asarray(x, dtype=np.float32)
    labels = label_columns(adapter := adapt(model_or_adapter), names)
    if report.rows is not None and len(originals) == report.given:
        originals = originals[report.rows]
    rows = np.flatnonzero(report.clean.correct & ~report.worst.correct)
    if originals.shape != report.worst.examples.shape:
        raise UsageError(
            f"x: expected the samples of the report, {report.worst.examples.shape}, got "
            f"{originals.shape}"
        )
    if not len(rows) or count < 1:
        return ()
    examples = report.worst.examples[rows]
    chances = adapter.predict(examples)
    chances[np.arange(len(rows)), labels[rows]] = -1.0  # the model chose another class
    order = np.argsort(-chances.max(axis=1), kind="stable")[:count]
    return tuple(
        Case(
            row=int(rows[i]),
            label=int(labels[rows[i]]),
            answer=int(chances[i].argmax()),
            confidence=float(chances[i].max()),
            distance=float(np.abs(examples[i] - originals[rows[i]]).max()),
            original=originals[rows[i]],
            example=examples[i],
        )
        for i in order
    )


def _labels(report: RobustnessReport, y: Any) -> NDArray[Any]:
    labels = np.asarray(y)
    if report.rows is not None and labels.shape == (report.given,):
        labels = labels[report.rows]
    if labels.shape != (report.n,):
        raise UsageError(f"y: expected the {report.n} labels of the report, got {labels.shape}")
    return labels
