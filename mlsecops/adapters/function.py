"""Adapter of a function from inputs to scores: a served model, or a framework without an Adapter.

function, `(n, *shape)` → its answer, an array of any library → scores `(n, k)`, no gradients
"""

from __future__ import annotations

import copy
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.output_form import as_logits, found_form, width_of
from mlsecops.adapters.base import BlackBox, TriedInputs, in_batches, require_width
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array


@concise_repr("name")
class FunctionAdapter(TriedInputs, BlackBox):
    """A function that takes inputs `(n, *shape)` and returns scores of classes, row by row.

    The form of the answers is found out on the first batch (option `output` of `adapt`). A copy has
    a closure of its own; what the function remembers elsewhere is not copied.
    """

    framework = "function"

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionAdapter:
        """A copy whose function has its own closure, where that can be copied."""
        copied: Any = object.__new__(type(self))
        memo[id(self)] = copied
        rest = {name: each for name, each in vars(self).items() if name != "model"}
        vars(copied).update(copy.deepcopy(rest, memo), model=_copied(self.model, memo))
        return copied  # type: ignore[no-any-return]

    def _prepare(self, device: str | None) -> None:
        if device is not None:
            raise UsageError(f"device: a function chooses its own, got {device!r}")
        self.name = f"the function {getattr(self.model, '__qualname__', type(self.model).__name__)}"

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`, or log-probabilities if the function returns probabilities."""
        return in_batches(self._scores, self._rows(x))

    def _call(self, batch: Any) -> object:
        with self._answering(batch):
            return self.model(batch.copy())  # which may write into its input

    def _scores(self, rows: Array) -> Array:
        count = len(rows)
        answer = self._call(rows)
        if isinstance(answer, list):
            answer = _listed(answer)
        member = self._form.member if self._form else self._request.member(answer, rows=count)
        output = _numpy(self._request.take(answer, member))
        scores = output.reshape(count, width_of(output.shape, rows=count))
        form = self._form or found_form(scores, self._request, member=member)
        self._form = form if count else None
        logits = as_logits(scores, form)
        require_width(logits.shape, self._classes)
        return logits


def _copied(function: Any, memo: dict[int, Any]) -> Any:
    """A function with copies of what its closure holds; any other callable copied as it is."""
    cells = getattr(function, "__closure__", None)
    if not isinstance(function, FunctionType) or not cells:
        return copy.deepcopy(function, memo)
    try:
        held = tuple(CellType(copy.deepcopy(cell.cell_contents, memo)) for cell in cells)
    except Exception:  # noqa: BLE001 - locks, connections: whatever it holds may refuse
        return function
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, held
    )
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    return made


def _listed(answer: list[Any]) -> Any:
    """A list of rows as an array; any other list as it is."""
    try:
        return np.asarray(answer, dtype=np.float32)
    except (TypeError, ValueError):
        return answer


def _numpy(output: Any) -> Array:
    if hasattr(output, "detach"):  # torch
        output = output.detach().float().cpu()
    found: Array = np.asarray(output, dtype=np.float32)
    return found
