"""Evaluation of a task, as one of classes: a right answer, and each way to be wrong.

model, x, y, tolerance → `TaskProblem`: Adapter, rows that bear their truth → evaluation
report on those rows → `restored` → report whose examples are the inputs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._choices import shown
from mlsecops.adapters.answers.class_names import class_names
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.tabular import Table
from mlsecops.robustness.distinct import distinct_rows
from mlsecops.robustness.report import RobustnessReport
from mlsecops.robustness.tables.encoding import EncodedTable
from mlsecops.robustness.tables.frame_model import rows_for
from mlsecops.robustness.tables.pipelines import array_trees, has_steps
from mlsecops.robustness.tables.problem import FrameProblem, frame_problem
from mlsecops.robustness.tasks.answers import Answers, label_scores_of, values_of
from mlsecops.robustness.tasks.each_way import EachWay
from mlsecops.robustness.tasks.goals import EveryLabel, Goal, Within
from mlsecops.robustness.tasks.task_adapter import DifferentiableTask, TaskAdapter
from mlsecops.robustness.trees.goals import another_label, beyond_tolerance
from mlsecops.robustness.trees.proof import Prover
from mlsecops.robustness.trees.space import ArraySpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.adapters.trees.ensemble import Ensemble
    from mlsecops.robustness.attacks.ball import Bounds, Norm
    from mlsecops.robustness.attacks.base import Attack
    from mlsecops.robustness.trees.boxes import Boxes, Targets
    from mlsecops.robustness.trees.space import Choice, Space

_TIE: Final = 1e-6  # probability; chosen: trees and model may round a half otherwise
_SINGLE: Final = 1e-5  # of the largest answer; chosen: what float32 sums of trees lose
_ROUNDED: Final = 1e-3  # of the tolerance; chosen: far below what an attack changes
_DETECTION: Final = (
    "object detection (boxes and scores) is measured by mean average precision, which this "
    "evaluation does not know: use ART's object detectors and attacks "
    "(art.estimators.object_detection; docs/robustness.md, Other tasks)"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskProblem:
    """A task's evaluation.

    Attributes:
        model: The caller's model.
        base: The evaluation of its data frame, or None for arrays.
        inputs: Inputs `(n, *shape)`, encoded for a frame.
        truth: True values or labels `(n, m)`.
        goal: When an answer is right.
        answers: The model's answers to inputs as it takes them.
        own_table: Constraints of the inputs, or None.
        own_bounds: Bounds of the inputs.
        kept: Place of each distinct row among those given `(n,)`.
        given: Rows given.
        digest: Digest of all inputs and their truth.
        exact: Inputs of an array as the caller gave them, which float32 may round.
    """

    model: Any
    base: FrameProblem | None
    inputs: Array
    truth: NDArray[np.float64]
    goal: Goal
    answers: Answers
    own_table: Table | None
    own_bounds: Bounds
    kept: NDArray[np.int64]
    given: int
    digest: Digest
    exact: NDArray[Any] | None = None

    @property
    def x(self) -> Array:
        """Rows of the flattened input and its truth."""
        return self._with_truth(self.inputs)

    @property
    def y(self) -> NDArray[np.int64]:
        """Class 0 for each row: a right answer."""
        return np.zeros(len(self.inputs), dtype=np.int64)

    @property
    def bounds(self) -> Bounds:
        """Bounds of the rows."""
        shape = self.inputs.shape[1:]
        low, high = (
            np.broadcast_to(np.asarray(b, np.float32), shape).ravel() for b in self.own_bounds
        )
        truth = self.truth.astype(np.float32)
        return np.append(low, truth.min(axis=0)), np.append(high, truth.max(axis=0))

    @property
    def table(self) -> Table:
        """Constraints of the rows: those of the inputs, and a truth that stays."""
        own, width = self.own_table or Table(), self.inputs[0].size
        hidden = tuple(range(width, width + self.truth.shape[1]))
        immutable = (*own.immutable, *hidden)
        if isinstance(own, EncodedTable):
            truth = self.truth.astype(np.float32)
            low, high = (np.concatenate([ends, truth], axis=1) for ends in (own.low, own.high))
            return replace(own, immutable=immutable, low=low, high=high)
        return replace(own, immutable=immutable)

    def adapter(self) -> Adapter:
        """The model as an Adapter of the rows."""
        kind = TaskAdapter if self.answers.adapter is None else DifferentiableTask
        made: Any = kind(
            self.model, self.answers, self.goal, width=self.truth.shape[1], given=self._given
        )
        return made  # type: ignore[no-any-return]

    def prover(self) -> tuple[Prover, Space] | None:
        """The trees of the model, with the goals of the task; None for any other model."""
        prover, space = self._read()
        if prover is None:
            return None
        if prover.ensemble is not None and self._differs(prover.ensemble, space.x):
            prover = Prover(ensemble=None, reason="the model answers otherwise than its trees")
        prover.targets = self._targets
        return prover, _WithTruth(space, self._with_truth)

    def _targets(self, ensemble: Ensemble, rows: NDArray[np.int64]) -> Targets:
        truth = self.truth.astype(np.float32).astype(np.float64)[rows]
        if isinstance(self.goal, Within):
            return beyond_tolerance(ensemble, truth, self.goal.tolerance)
        return another_label(ensemble, truth)

    def _differs(self, trees: Ensemble, x: NDArray[np.float64]) -> bool:
        """Whether the model answers its inputs otherwise than the trees that were read."""
        asked = self.answers.call(self._given(self.inputs.reshape(len(self.inputs), -1)))
        found = trees.answers(x)
        if found.shape != asked.shape or trees.scale != "values":
            return True
        if isinstance(self.goal, EveryLabel):
            return bool(((found > _TIE) & (asked < 0) | (found < -_TIE) & (asked > 0)).any())
        return bool(np.abs(found - asked).max() > _SINGLE * np.abs(asked).max())

    def _read(self) -> tuple[Prover | None, Any]:
        if self.base is not None:
            return self.base.prover() or (None, None)
        space = ArraySpace(
            inputs=self.inputs,
            bounds=self.own_bounds,
            table=self.own_table,
            given=self.exact,
            by_steps=has_steps(self.model),
        )
        return Prover.of(lambda: array_trees(self.model, self.inputs)), space

    def attacks(self, attacks: Sequence[Attack]) -> Sequence[Attack]:
        """The attacks; on a regression of one value each runs towards either side."""
        if not isinstance(self.goal, Within) or self.truth.shape[1] > 1:
            return attacks
        return [EachWay(attack) for attack in attacks]

    def restored(self, report: RobustnessReport) -> RobustnessReport:
        """The report with the inputs alone as examples."""

        def shown(examples: Array) -> Array:
            return examples[:, : -self.truth.shape[1]].reshape(self.inputs.shape)

        low, high = float(np.min(self.own_bounds[0])), float(np.max(self.own_bounds[1]))
        found = report.of_caller(
            self.model, shown, kept=self.kept, given=self.given, bounds=(low, high)
        )
        return found if self.base is None else self.base.restored(found)

    def _with_truth(self, inputs: Array) -> Array:
        flat = inputs.reshape(len(inputs), -1)
        return np.concatenate([flat, self.truth.astype(np.float32)], axis=1)

    def _given(self, rows: Array) -> Any:
        """Inputs as the model takes them, from flattened ones."""
        if self.base is not None:
            return rows_for(self.model, self.base.encoding)(rows)
        return rows.reshape(len(rows), *self.inputs.shape[1:])


class _WithTruth:
    """A space whose examples bear the truth."""

    def __init__(self, inner: Any, with_truth: Any) -> None:
        self._inner, self._with_truth = inner, with_truth

    @property
    def x(self) -> Any:
        return self._inner.x

    def ball(self, norm: Norm, eps: float) -> Boxes:
        return self._inner.ball(norm, eps)  # type: ignore[no-any-return]

    def choices(self) -> Sequence[Choice]:
        return self._inner.choices()  # type: ignore[no-any-return]

    def examples(self, rows: Any) -> Array:
        return self._with_truth(self._inner.examples(rows))  # type: ignore[no-any-return]


def task_problem(
    model: Any, x: Any, y: Any, table: Table | None, bounds: Any, *, tolerance: float | None
) -> TaskProblem | None:
    """The evaluation of a regression or of several labels; None for a classification.

    Args:
        model: The caller's model.
        x: Inputs `(n, *shape)`, or a data frame.
        y: Values `(n,)` or `(n, m)` with a tolerance; 0 and 1 for each label `(n, m)` without one.
        table: Constraints of the inputs.
        bounds: Bounds of the inputs.
        tolerance: Largest error that is right, in the unit of y, or None.

    Raises:
        UsageError: `y` is of a task that is not measured, or does not fit the inputs.
    """
    _require_no_boxes(y)
    try:
        truth = np.asarray(y)
    except ValueError as error:
        raise UsageError(f"y: expected one label, or as many, for each input: {error}") from error
    if tolerance is None and truth.ndim < 2:  # noqa: PLR2004 - one class for each input
        if truth.dtype.kind == "f" and class_names(model) is None:
            raise UsageError(
                f"y: expected classes, got {truth.dtype}: give tolerance=, the largest error that "
                "is right, for a regression; or make the labels integers"
            )
        return None
    if truth.dtype.kind not in "biuf" or truth.ndim not in {1, 2} or not len(truth):
        raise UsageError(f"y: expected numbers (n,) or (n, m), got {shown(y)} of {truth.dtype}")
    truth = truth.reshape(len(truth), -1).astype(np.float64)
    goal: Goal = EveryLabel() if tolerance is None else Within(tolerance)
    if tolerance is None:
        _require_labels(truth)
    base = frame_problem(model, x, truth, table, bounds)
    return _built(model, x, truth, goal, base=base, table=table, bounds=bounds)


def _require_labels(truth: NDArray[np.float64]) -> None:
    """Demand 0 or 1 for each label, and not the one label of a classification in each row."""
    if not np.isin(truth, (0, 1)).all():
        raise UsageError("y: expected 0 or 1 for each of several labels (n, m), or a tolerance=")
    if truth.shape[1] > 1 and (truth.sum(axis=1) == 1).all():
        raise UsageError(
            "y: expected several labels (n, m), or one class for each input, got rows with a "
            "single 1 each (one-hot); pass y.argmax(axis=1), the classes"
        )


def _built(
    model: Any,
    x: Any,
    truth: NDArray[np.float64],
    goal: Goal,
    *,
    base: FrameProblem | None,
    table: Table | None,
    bounds: Any,
) -> TaskProblem:
    if base is not None:
        kept, inputs, given = base.kept, base.x, base.given
        sample: Any = rows_for(base.model, base.encoding)(base.x)
        table, bounds, model = base.table, base.bounds, base.model
        digest = base.digest
    else:
        whole = np.asarray(x)
        if whole.shape[:1] != truth.shape[:1] or whole.dtype.kind not in "iuf":
            raise UsageError(
                f"expected numeric x (n, *shape) and y of as many rows, got x {whole.shape} of "
                f"{whole.dtype} and y {truth.shape}"
            )
        kinds = np.unique(truth, axis=0, return_inverse=True)[1].reshape(-1)
        kept = distinct_rows(whole, kinds)
        inputs, given = whole[kept].astype(np.float32), len(whole)
        sample = inputs
        if table is not None:
            table.require_fits(inputs)
        digest = hash_dataset({"x": whole, "y": truth}, name="evaluation").root
    truth = truth[kept]
    if isinstance(goal, Within):
        _require_precise(truth, goal.tolerance)
    width = truth.shape[1]
    answers = label_scores_of(model, sample) if isinstance(goal, EveryLabel) else (
        values_of(model, width)
    )  # fmt: skip
    found = answers.call(sample[:2])
    if found.ndim != 2 or found.shape[1] != width:  # noqa: PLR2004 - (n, m)
        raise UsageError(
            f"y: expected {found.shape[-1]} columns, as the model answers, got {width}"
        )
    return TaskProblem(
        model=model, base=base, inputs=inputs, truth=truth, goal=goal, answers=answers,
        own_table=table, own_bounds=bounds, kept=kept, given=given, digest=digest,
        exact=None if base is not None else whole[kept],
    )  # fmt: skip


def _require_precise(truth: NDArray[np.float64], tolerance: float) -> None:
    """Refuse values that float32, in which rows bear them, rounds by a share of the tolerance."""
    rounded = float(np.abs(truth - truth.astype(np.float32)).max())
    if rounded > _ROUNDED * tolerance:
        raise UsageError(
            f"y: float32 rounds the values by up to {rounded:.3g}, which is no small part of the "
            f"tolerance of {tolerance:g}: expected values near 0; subtract a constant from y and "
            "from the answers, or give a larger tolerance"
        )


def _require_no_boxes(y: Any) -> None:
    """Refuse the truth of object detection: a list of mappings with boxes."""
    if isinstance(y, (list, tuple)) and y and isinstance(y[0], Mapping):
        raise UsageError(f"y: {_DETECTION}")
