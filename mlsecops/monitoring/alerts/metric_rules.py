"""Rules over exported metrics, which no detector reads; evaluated as PromQL would.

a monitor's Series → increase of a counter over the rule's window, or largest value of a gauge
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mlsecops.monitoring.alerts.rules import AlertRule
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import Reading

_STEPS: Final = 60  # marks in a window; chosen: the increase errs by at most 1/60 of it
_GAUGES: Final = {telemetry.CLIENTS.name, telemetry.DRIFT.name}


class MetricRules:
    """Readings of exported metrics, for those rules that no detector serves."""

    def __init__(
        self, rules: Iterable[AlertRule], series: Series, clock: Callable[[], float]
    ) -> None:
        self._series = series
        self._clock = clock
        self._gauges = [rule for rule in rules if rule.metric in _GAUGES]
        counters = [rule for rule in rules if telemetry.metric(rule.metric).kind == "counter"]
        self._marks = {rule: deque([(clock(), self._total(rule))]) for rule in counters}

    def readings(self) -> Iterator[tuple[AlertRule, Reading]]:
        """Current reading of each rule."""
        now = self._clock()
        for rule, marks in self._marks.items():
            metric = telemetry.metric(rule.metric)
            grown = self._grown(rule, marks, now)
            yield rule, Reading(metric=metric, value=grown, window=f"last {rule.window:g} s")
        for rule in self._gauges:
            metric = telemetry.metric(rule.metric)
            largest = self._series.largest(metric)
            if largest is not None:
                yield rule, Reading(metric=metric, value=largest, window="latest reading")

    def _total(self, rule: AlertRule) -> float:
        return self._series.total(telemetry.metric(rule.metric))

    def _grown(self, rule: AlertRule, marks: deque[tuple[float, float]], now: float) -> float:
        value = self._total(rule)
        if value < marks[-1][1]:  # a forked child starts from zero
            marks.clear()
            marks.append((now, 0.0))
        while len(marks) > 1 and now - marks[1][0] >= rule.window:
            marks.popleft()
        grown = value - marks[0][1]
        if now - marks[-1][0] >= rule.window / _STEPS:
            marks.append((now, value))
        return grown
