"""Call reader: inputs and results of queued calls as rows, probabilities and other answers.

CallRecord → CallReader.read → CallRows → join → Observed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlsecops.drift.answers.answer_schema import Answered, AnswerSchema
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.tables.containers import as_dense
from mlsecops.errors import UsageError
from mlsecops.monitoring.queue import CallRecord
from mlsecops.readings import Observed

_TOLERANCE: Final = 1e-3  # of a sum of probabilities; chosen: above the rounding of float16
_TABLE: Final = 2  # dimensions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallRows:
    """One call as rows.

    Attributes:
        rows: `(n, d)` inputs; `(n, 0)` if unknown.
        probabilities: `(n, k)`, or None if the result has none.
        classes: `(n,)` predicted classes, or None if unknown.
        client: Name of the caller.
        at: Unix time in seconds.
        answers: Features `(n, a)` of other answers than probabilities, or None.
        unread_inputs: Whether the inputs are not such as the baseline's.
        unread_answers: Whether the answers are neither probabilities nor such as the baseline's.
    """

    rows: Floats
    probabilities: Floats | None
    classes: Counts | None
    client: str | None
    at: float
    answers: Floats | None = None
    unread_inputs: bool = False
    unread_answers: bool = False


class CallReader:
    """Reads inputs and results as tables.

    The baseline defines the columns of one input and the kind of the answers; without it, the
    number of answers defines the number of inputs. `probabilities` extracts the answers from a
    result; by default the result itself has them.
    """

    def __init__(
        self, baseline: Baseline | None, probabilities: Callable[[Any], Any] | None
    ) -> None:
        self._baseline = baseline
        self._probabilities = probabilities

    @property
    def plain(self) -> bool:
        """Whether results are the answers."""
        return self._probabilities is None

    def read(self, event: CallRecord) -> CallRows:
        """One call as rows; what is of another form than the baseline's is marked as unread."""
        result = event.result
        if result is not None and self._probabilities is not None:
            result = self._probabilities(result)
        rows = self._rows(event.inputs)
        if _empty(rows) and not _empty(result):  # answers come of rows that were not taken
            rows = None
        found = self._answers(result, None if rows is None else len(rows))
        answers = None if found is None or found.probabilities is not None else found.table
        probabilities = None if found is None else found.probabilities
        count = len(probabilities) if probabilities is not None else 1
        if self._baseline is None:
            rows = _shaped(event.inputs, count)
        return CallRows(
            rows=np.empty((count if answers is None else len(answers), 0))
            if rows is None
            else rows,
            probabilities=probabilities,
            classes=_classes(result, probabilities),
            client=None if event.client is None else str(event.client),
            at=event.at,
            answers=answers,
            unread_inputs=self._baseline is not None and rows is None,
            unread_answers=found is None
            and self._expects_answer(event)
            and not (_empty(rows) and _empty(result)),
        )

    def _expects_answer(self, event: CallRecord) -> bool:
        """Whether a call has answers to be watched, be they an unexpected None."""
        if self._baseline is None or event.result is not None:
            return self._baseline is not None
        return self._baseline.answers is not None and event.outcome == "ok"

    def _rows(self, inputs: Any) -> Floats | None:
        """Inputs as the baseline reads them, or None."""
        if self._baseline is None or inputs is None:
            return None
        try:
            rows = self._baseline.table(inputs)
        except (UsageError, TypeError, ValueError):
            return None
        return rows

    def _answers(self, result: Any, rows: int | None) -> Answered | None:
        """Answers as the baseline reads them, or as probabilities; None if they are neither."""
        if result is None:
            return None
        known: AnswerSchema | None = None if self._baseline is None else self._baseline.answers
        if known is not None:
            try:
                return known.read(result, rows)
            except (UsageError, TypeError, ValueError):
                return None
        probabilities = as_probabilities(result)
        if probabilities is None or (rows is not None and len(probabilities) != rows):
            return None
        return Answered(table=np.empty((len(probabilities), 0)), probabilities=probabilities)


def _empty(values: Any) -> bool:
    """Whether a batch has no rows, or an answer to it none."""
    return hasattr(values, "__len__") and not isinstance(values, (str, bytes)) and not len(values)


def as_probabilities(result: Any) -> Floats | None:
    """A result as `(n, k)` probabilities, or None if it is none."""
    dense = as_dense(result)
    if not hasattr(dense, "__array__") and not isinstance(dense, (list, tuple)):
        return None
    values = _numbers(dense)
    if values is None or values.ndim not in {1, _TABLE} or not values.size:
        return None
    table = np.atleast_2d(values)
    if table.shape[1] < 2 or not np.isfinite(table).all() or (table < -_TOLERANCE).any():  # noqa: PLR2004 - one class is none
        return None
    if (np.abs(table.sum(axis=1) - 1) > _TOLERANCE).any():
        return None
    return table


def join(answers: list[CallRows]) -> Observed:
    """Several calls as one batch; they have equally many features and answers of one kind."""
    known = [each.probabilities for each in answers if each.probabilities is not None]
    other = [each.answers for each in answers if each.answers is not None]
    return Observed(
        rows=np.concatenate([each.rows for each in answers]),
        probabilities=np.concatenate(known) if known else None,
        clients=tuple(each.client for each in answers for _ in range(len(each.rows))),
        at=np.repeat([each.at for each in answers], [len(each.rows) for each in answers]),
        answers=np.concatenate(other) if other else None,
    )


def _shaped(inputs: Any, count: int) -> Floats:
    """Inputs without a baseline, by the number of answers."""
    values = _numbers(as_dense(inputs))
    if values is None:
        return np.empty((count, 0))
    if values.ndim >= _TABLE and len(values) == count:
        return values.reshape(count, -1)
    return values.reshape(1, -1) if count == 1 else np.empty((count, 0))


def _numbers(value: Any) -> Floats | None:
    if value is None:
        return None
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        return None


def _classes(result: Any, probabilities: Floats | None) -> Counts | None:
    if probabilities is not None:
        return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    if not isinstance(result, (int, np.integer, np.ndarray)):
        return None
    values = np.atleast_1d(np.asarray(result))
    return values.astype(np.int64) if values.ndim == 1 and values.dtype.kind in "iu" else None
