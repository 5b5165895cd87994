"""Where a model falls: each class under each attack, and the examples that fool it most surely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness.report import Figure, Outcomes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.report import RobustnessReport

__all__ = ["Breakdown", "Case", "by_class", "worst_cases"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Breakdown:
    """Accuracy by class.

    Attributes:
        classes: Labels that occur, in order.
        rows: Clean, each attack and worst, each with a figure for every class.
    """

    classes: tuple[int, ...]
    rows: Mapping[str, tuple[Figure, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """An example that fools the model.

    Attributes:
        row: Index of the sample.
        label: True class.
        answer: Class that the model gives the example.
        confidence: Probability that it gives this class.
        distance: Largest change of one element, in units of the input.
        original: The sample, `shape`.
        example: What fools the model, `shape`.
    """

    row: int
    label: int
    answer: int
    confidence: float
    distance: float
    original: Array
    example: Array


def by_class(report: RobustnessReport, y: Any) -> Breakdown:
    """Split each figure of a report by the true class.

    Args:
        report: As `evaluate_robustness` gave it, or read from a file with its samples.
        y: The labels that were evaluated, `(n,)`.

    Raises:
        UsageError: The labels are not those of the report's samples, or it kept no samples.
    """
    labels = _labels(report, y)
    classes = tuple(int(each) for each in np.unique(labels))
    figures = {"clean": report.clean, **report.attacks, "worst": report.worst}
    return Breakdown(
        classes=classes,
        rows={
            name: tuple(_part(name, figure.correct[labels == each]) for each in classes)
            for name, figure in figures.items()
        },
    )


def worst_cases(
    model_or_adapter: Any, report: RobustnessReport, x: Any, y: Any, *, count: int = 8
) -> tuple[Case, ...]:
    """The examples on which the model is surest of a wrong answer, surest first.

    Samples that are wrong without an attack are left out.

    Args:
        model_or_adapter: The model that was evaluated.
        report: Its report, fresh, with the examples.
        x: The inputs that were evaluated, `(n, *shape)`.
        y: Their labels `(n,)`.
        count: How many at most.

    Raises:
        UsageError: The samples are not those of the report, or it kept none.
    """
    labels, originals = _labels(report, y), np.asarray(x, dtype=np.float32)
    rows = np.flatnonzero(report.clean.correct & ~report.worst.correct)
    if originals.shape != report.worst.examples.shape:
        raise UsageError(
            f"x: expected the samples of the report, {report.worst.examples.shape}, got "
            f"{originals.shape}"
        )
    if not len(rows) or count < 1:
        return ()
    examples = report.worst.examples[rows]
    chances = adapt(model_or_adapter).predict(examples)
    chances[np.arange(len(rows)), labels[rows]] = -1.0  # it was fooled, whatever rounding says here
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
    if labels.shape != (report.n,):
        raise UsageError(f"y: expected the {report.n} labels of the report, got {labels.shape}")
    return labels


def _part(name: str, correct: NDArray[np.bool_]) -> Figure:
    return Figure(
        name=name,
        params={},
        hits=int(correct.sum()),
        n=len(correct),
        outcomes=Outcomes(correct=correct, examples=None),
    )
