"""Calls that nothing watches, because their inputs or answers could not be read.

call → UnreadCalls.add → counters, and the share of the recent calls
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import Reading

_RECENT: Final = 256  # calls; chosen: as the usual window
_FEWEST: Final = 64  # calls; chosen: a stray call is no alarm


class UnreadCalls:
    """Counts of calls whose inputs or answers could not be read."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self.reset()
        for metric in (telemetry.INPUT_UNREAD, telemetry.ANSWERS_UNREAD):
            series.add(metric, 0)

    def reset(self) -> None:
        """Start from zero, as a forked child must."""
        self._recent = tuple(deque[bool](maxlen=_RECENT) for _ in ("inputs", "answers"))
        self.inputs = self.answers = 0

    def add(self, *, inputs: bool = False, answers: bool = False, calls: int = 1) -> None:
        """Add calls, and say which of inputs and answers could not be read."""
        for recent, unread in zip(self._recent, (inputs, answers), strict=True):
            recent.extend([unread] * min(calls, _RECENT))
        if inputs:
            self.inputs += calls
            self._series.add(telemetry.INPUT_UNREAD, calls)
        if answers:
            self.answers += calls
            self._series.add(telemetry.ANSWERS_UNREAD, calls)

    def readings(self) -> list[Reading]:
        """The larger of the shares of inputs and of answers among the recent calls."""
        count = len(self._recent[0])
        if count < _FEWEST:
            return []
        share = max(map(sum, self._recent)) / count
        self._series.replace(telemetry.UNREAD, {(): share})
        return [Reading(metric=telemetry.UNREAD, value=share, window=f"last {count} calls")]
