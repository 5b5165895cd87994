"""Adapter of a task: one class for a right answer, and one for each way to be wrong.

rows `[input, truth]` → the model's answers to the input → margins of the goal → logits: 0 for class
0, which is right, and the opposite of each margin
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.adapters.base import BlackBox, in_batches, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Cotangent, Labels
    from mlsecops.robustness.tasks.answers import Answers
    from mlsecops.robustness.tasks.goals import Goal

    Floats: TypeAlias = NDArray[np.float64]


@concise_repr("framework", "name")
class TaskAdapter(BlackBox):
    """The model of a task, as a classifier of its answers.

    The truth stands in the last `width` columns of a row. It is rounded to float32, as the inputs.
    """

    channels_first = False

    def __init__(
        self,
        model: Any,
        answers: Answers,
        goal: Goal,
        *,
        width: int,
        given: Callable[[Array], Any],
    ) -> None:
        self.model, self.name = model, type(model).__name__
        self.framework = type(model).__module__.split(".")[0]
        self.classes_ = np.arange(1 + len(goal.conditions(width)))
        self._answers, self._goal, self._width, self._given = answers, goal, width, given

    def logits(self, x: Array) -> Array:
        """0, and the opposite of each margin `(n, 1 + g)`; equal scores are right."""
        return in_batches(self._logits, x)

    def predict(self, x: Array) -> Array:
        """Softmax of the margins, which are no probabilities."""
        return softmax(self.logits(x))

    def _logits(self, rows: Array) -> Array:
        inputs, truth = self._parted(rows)
        return _against(self._goal.margins(self._answers.call(self._given(inputs)), truth))

    def _parted(self, rows: Array) -> tuple[Array, Floats]:
        inputs = np.ascontiguousarray(rows[:, : -self._width])
        return inputs, rows[:, -self._width :].astype(np.float64)


class DifferentiableTask(TaskAdapter):
    """The model of a task that has gradients."""

    differentiable = True

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and each row's gradient of `sum(logits * cotangent(logits))`."""
        inputs, truth = self._parted(x)

        def slope(answers: Floats) -> Floats:
            logits = _against(self._goal.margins(answers, truth))
            by_condition = -cotangent(logits)[:, 1:] * self._goal.slopes(truth)
            by_answer = np.zeros_like(answers)
            for condition, answer in enumerate(self._goal.conditions(self._width).tolist()):
                by_answer[:, answer] += by_condition[:, condition]
            return by_answer

        answers, gradient = self._answers.gradient(self._given(inputs), slope)
        flat = np.asarray(gradient).reshape(len(x), -1)
        by_rows = np.concatenate([flat, np.zeros_like(truth, np.float32)], axis=1)
        return _against(self._goal.margins(answers, truth)), by_rows

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        width = len(self.classes_)
        return self.pullback(x, lambda z: softmax(z) - np.eye(width, dtype=np.float32)[y])


def _against(margins: Floats) -> Array:
    right = np.zeros((len(margins), 1))
    return np.concatenate([right, -margins], axis=1).astype(np.float32)
