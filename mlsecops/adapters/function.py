"""Adapter of a function from inputs to scores: a served model, or a framework without an Adapter.

function, `(n, *shape)` → its answer, an array of any library → scores `(n, k)`, no gradients
"""

from __future__ import annotations

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

    The form of the answers is found out on the first batch (option `output` of `adapt`). What the
    function remembers lies outside it and is not copied.
    """

    framework = "function"

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
