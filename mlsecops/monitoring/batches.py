"""How calls that look alike are read at once: a run of events → one table, not a table each.

Most services get one input a call, all of one shape. Stacked first and checked once, a call costs
a tenth of what it costs when each is a table of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.baseline import Baseline
from mlsecops.monitoring.call_reader import CallRows, as_probabilities, join
from mlsecops.monitoring.queue import CallRecord, Label
from mlsecops.readings import Observed

__all__ = ["TABLE_ROWS", "CallTable", "Gathering", "Pace", "alike", "stacked"]

Look: TypeAlias = tuple[Any, ...]

TABLE_ROWS: Final = 256
"""Rows that are worth a table."""

_NUMBERS: Final = "biuf"
_MOST_ROWS: Final = 4096
_TABLE_BYTES: Final = 4 * 2**20
_FLOAT: Final = 8
_BRIEF: Final = 0.02
_LONG: Final = 0.06


class Pace:
    """How many events are aggregated at once: many, unless that takes long.

    Few long pieces of work hold up fewer callers than many short ones. For the same reason nothing
    gives way between pieces: the interpreter lets a caller in after five milliseconds anyway.
    """

    def __init__(self) -> None:
        self.events = TABLE_ROWS

    def learn(self, events: int, seconds: float) -> None:
        """Take more at once if a full piece of work was brief, and fewer if it was long.

        Args:
            events: How many were taken.
            seconds: How much CPU time that took; other programs do not count.
        """
        if seconds > _LONG:
            self.events = max(TABLE_ROWS, self.events // 2)
        elif seconds < _BRIEF and events == self.events:
            self.events = min(_MOST_ROWS, self.events * 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallTable:
    """Calls of one input each.

    Attributes:
        traffic: What detectors see.
        classes: `(n,)` predicted classes.
    """

    traffic: Observed
    classes: NDArray[np.int64]


def alike(events: Sequence[CallRecord | Label]) -> Iterator[Sequence[CallRecord | Label]]:
    """Runs of neighbours that can be read at once; whatever cannot is a run of its own kind.

    Args:
        events: Oldest first.
    """
    for look, group in groupby(events, key=_look):
        run, size = list(group), _longest(look)
        for start in range(0, len(run), size):
            yield run[start : start + size]


def _look(event: CallRecord | Label) -> Look | None:
    """What neighbours must share: shapes and types of one input and its probabilities."""
    if not isinstance(event, CallRecord) or event.outcome != "ok":
        return None
    inputs, result = event.inputs, event.result
    if type(inputs) is not np.ndarray or type(result) is not np.ndarray or result.ndim != 1:
        return None
    return inputs.shape, inputs.dtype, result.shape, result.dtype


def _longest(look: Look | None) -> int:
    """Rows of a table: as many as fit in 4 MiB, 256 at least."""
    row = _FLOAT * math.prod(look[0]) if look else _TABLE_BYTES
    return min(max(_TABLE_BYTES // max(row, 1), TABLE_ROWS), _MOST_ROWS)


def stacked(run: Sequence[CallRecord | Label], baseline: Baseline | None) -> CallTable | None:
    """A run as a table, or None if its calls must be read one by one.

    Args:
        run: Of `alike`.
        baseline: Says what one input looks like.
    """
    if len(run) < 2 or _look(run[0]) is None:  # noqa: PLR2004 - one is no run
        return None
    events = [event for event in run if isinstance(event, CallRecord)]
    shape = events[0].inputs.shape
    if events[0].inputs.dtype.kind not in _NUMBERS or (baseline and shape != baseline.shape):
        return None
    probabilities = as_probabilities(np.array([event.result for event in events]))
    if probabilities is None:
        return None
    inputs = np.array([event.inputs for event in events], dtype=np.float64)
    clients = [event.client for event in events]
    return CallTable(
        traffic=Observed(
            rows=inputs.reshape(len(events), -1) if baseline is None else baseline.table(inputs),
            probabilities=probabilities,
            clients=tuple(each if each is None else str(each) for each in clients),
            at=np.array([event.at for event in events]),
        ),
        classes=probabilities.argmax(axis=1).astype(np.int64),
    )


class Gathering:
    """Answers that were read one by one, until they are worth a table."""

    def __init__(self) -> None:
        self._answers: list[CallRows] = []
        self._rows = 0

    def takes(self, answer: CallRows) -> bool:
        """Whether an answer has the features and classes of those that wait."""
        return not self._answers or _kind(self._answers[0]) == _kind(answer)

    def add(self, answer: CallRows) -> int:
        """Let an answer wait, and say how many rows do."""
        self._answers.append(answer)
        self._rows += len(answer.rows)
        return self._rows

    def table(self) -> Observed | None:
        """What waits, as one table, or None; nothing waits afterwards."""
        answers, self._answers, self._rows = self._answers, [], 0
        return join(answers) if answers else None


def _kind(answer: CallRows) -> tuple[int, int]:
    """Numbers of features and classes; calls of one kind make one table."""
    known = answer.probabilities
    return answer.rows.shape[1], -1 if known is None else known.shape[1]
