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
        self._recent: deque[tuple[bool, bool]] = deque(maxlen=_RECENT)
        self.inputs = self.answers = 0

    def add(self, *, inputs: bool = False, answers: bool = False, calls: int = 1) -> None:
        """Add calls, and say which of inputs and answers could not be read."""
        self._recent.extend([(inputs, answers)] * min(calls, _RECENT))
        if inputs:
            self.inputs += calls
            self._series.add(telemetry.INPUT_UNREAD, calls)
        if answers:
            self.answers += calls
            self._series.add(telemetry.ANSWERS_UNREAD, calls)

    def readings(self) -> list[Reading]:
        """The larger of the shares of inputs and of answers among the recent calls."""
        if len(self._recent) < _FEWEST:
            return []
        shares = [sum(each[i] for each in self._recent) / len(self._recent) for i in (0, 1)]
        self._series.replace(telemetry.UNREAD, {(): max(shares)})
        window = f"last {len(self._recent)} calls"
        return [Reading(metric=telemetry.UNREAD, value=max(shares), window=window)]
