"""Batches of similar calls: a run of calls with the same shapes becomes one table.

    CallRecords → uniform_runs → stack → CallTable; other calls → RowBuffer → Observed

Most services get one input a call, all of one shape. Stacked first and checked once, a call costs a
tenth of what it costs as a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.answers.answer_schema import Answered
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError
from mlsecops.monitoring.calls.call_reader import CallRows, as_probabilities, join
from mlsecops.monitoring.queue import CallRecord, Label
from mlsecops.readings import Observed

Signature: TypeAlias = tuple[Any, ...]

TABLE_ROWS: Final = 256  # rows; chosen: fewer cost more a row, as a table has a fixed cost
_NUMBERS: Final = "biuf"  # NumPy kinds of numbers
_MOST_ROWS: Final = 4096  # rows of a table, as `readings.Detector` documents
_TABLE_BYTES: Final = 4 * 2**20  # bytes; chosen: a table stays in the processor's cache
_FLOAT: Final = 8  # bytes of a float64
_BRIEF: Final = 0.06  # seconds of CPU; batches that take less are doubled, which is not too long
_LONG: Final = 0.12  # seconds of CPU; chosen: batches that take more are halved


class BatchSize:
    """Number of calls to aggregate at once: many, unless that takes long.

    Few long batches delay fewer callers than many short ones. For the same reason nothing yields
    between batches: the interpreter lets a caller in after five milliseconds anyway.
    """

    def __init__(self) -> None:
        self.events = TABLE_ROWS

    def learn(self, events: int, seconds: float) -> None:
        """Double the size after a brief full batch, halve it after a long one (CPU seconds)."""
        if seconds > _LONG:
            self.events = max(TABLE_ROWS, self.events // 2)
        elif seconds < _BRIEF and events == self.events:
            self.events = min(_MOST_ROWS, self.events * 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallTable:
    """Calls of one input each as detectors get them, and predicted classes `(n,)` or None."""

    traffic: Observed
    classes: NDArray[np.int64] | None


def uniform_runs(events: Sequence[CallRecord | Label]) -> Iterator[Sequence[CallRecord | Label]]:
    """Runs of neighbours, oldest first, with equal shapes, or with none that can be stacked."""
    for signature, group in groupby(events, key=_signature):
        run, size = list(group), _longest(signature)
        for start in range(0, len(run), size):
            yield run[start : start + size]


def _signature(event: CallRecord | Label) -> Signature | None:
    """Shapes and types of one input and its probabilities, or None if it cannot be stacked."""
    if not isinstance(event, CallRecord) or event.outcome != "ok":
        return None
    inputs, result = event.inputs, event.result
    if type(inputs) is not np.ndarray or type(result) is not np.ndarray or result.ndim != 1:
        return None
    return inputs.shape, inputs.dtype, result.shape, result.dtype


def _longest(signature: Signature | None) -> int:
    """Rows of a table: as many as fit in 4 MiB, at least 256."""
    row = _FLOAT * math.prod(signature[0]) if signature else _TABLE_BYTES
    return min(max(_TABLE_BYTES // max(row, 1), TABLE_ROWS), _MOST_ROWS)


def stack(run: Sequence[CallRecord | Label], baseline: Baseline | None) -> CallTable | None:
    """A run as a table, or None if its calls must be read one by one."""
    if len(run) < 2 or _signature(run[0]) is None:  # noqa: PLR2004 - one is no run
        return None
    events = [event for event in run if isinstance(event, CallRecord)]
    shape = events[0].inputs.shape
    if events[0].inputs.dtype.kind not in _NUMBERS or (baseline and shape != baseline.shape):
        return None
    answered = _answered(_joined([event.result for event in events]), baseline)
    inputs = _joined([event.inputs for event in events]).astype(np.float64, copy=False)
    rows = inputs.reshape(len(events), -1) if baseline is None else _table(inputs, baseline)
    if answered is None or rows is None:
        return None
    known, clients = answered.probabilities, [event.client for event in events]
    named = [each if each is None or each.__class__ is str else str(each) for each in clients]
    return CallTable(
        traffic=Observed(
            rows=rows,
            probabilities=known,
            clients=tuple(named),
            at=np.array([event.at for event in events]),
            answers=answered.table if known is None else None,
        ),
        classes=None if known is None else known.argmax(axis=1).astype(np.int64),
    )


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of one shape and type as one; a concatenation takes half the time of a stack."""
    shape = arrays[0].shape
    return np.concatenate(arrays).reshape(len(arrays), *shape) if shape else np.array(arrays)


def _table(inputs: Floats, baseline: Baseline) -> Floats | None:
    """Inputs `(n, …)` as the baseline reads them, or None."""
    try:
        return baseline.table(inputs)
    except UsageError:
        return None


def _answered(results: Floats, baseline: Baseline | None) -> Answered | None:
    """Results `(n, k)` as answers, one each, or None if they must be read one by one."""
    if baseline is None or baseline.answers is None:
        known = as_probabilities(results)
        return None if known is None else Answered(table=known, probabilities=known)
    try:
        return baseline.answers.read(results, len(results))
    except (UsageError, TypeError, ValueError):
        return None


class RowBuffer:
    """Calls that were read one by one, until they are worth a table."""

    def __init__(self) -> None:
        self._answers: list[CallRows] = []
        self._rows = 0

    def takes(self, answer: CallRows) -> bool:
        """Whether a call has the features and classes of those in the buffer."""
        return not self._answers or _kind(self._answers[0]) == _kind(answer)

    def add(self, answer: CallRows) -> int:
        """Add a call; returns the number of rows in the buffer."""
        self._answers.append(answer)
        self._rows += len(answer.rows)
        return self._rows

    def table(self) -> Observed | None:
        """The buffer as one table, or None if it is empty; then empties it."""
        answers, self._answers, self._rows = self._answers, [], 0
        return join(answers) if answers else None


def _kind(answer: CallRows) -> tuple[int, ...]:
    """Numbers of features, classes and answers; calls of one kind make one table."""
    known = (answer.probabilities, answer.answers)
    return answer.rows.shape[1], *(-1 if each is None else each.shape[1] for each in known)
