"""OpenTelemetry exporter of all monitors' aggregates.

worker → Series of a monitor's name → observable counters and gauges → metric readers

Monitors of the same name share one Series: their counters add up, and the counts of a closed or
collected monitor stay, so that no counter decreases. Of their gauges the newest is exported.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from opentelemetry.metrics import CallbackOptions, Observation

from mlsecops.monitoring.telemetry.metrics import METRICS, TELEMETRY
from mlsecops.readings import Metric

_MOST_SERIES: Final = 256  # points of a metric; chosen: further attribute values become "other"
_OTHER: Final = "other"

Attributes = tuple[str, ...]


class Series:
    """Values of all metrics of one monitor name, by their attributes after `monitor`."""

    def __init__(self, monitor: str) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._values = {each.name: _start(each) for each in METRICS}
        self.refreshers: list[Callable[[], object]] = []

    def add(self, metric: Metric, amount: float, *attributes: str) -> None:
        """Increase a counter; an amount of 0 creates the point."""
        with self._lock:
            values = self._values[metric.name]
            key = attributes
            if key not in values and len(values) >= _MOST_SERIES:
                key = (_OTHER,) * len(attributes)
            values[key] = values.get(key, 0.0) + amount

    def replace(self, metric: Metric, values: dict[Attributes, float]) -> None:
        """Set all points of a gauge."""
        with self._lock:
            self._values[metric.name] = dict(list(values.items())[:_MOST_SERIES])

    def total(self, metric: Metric) -> float:
        """Sum of a metric's points."""
        with self._lock:
            return sum(self._values[metric.name].values())

    def largest(self, metric: Metric) -> float | None:
        """Largest of a metric's points, or None if it has none."""
        with self._lock:
            return max(self._values[metric.name].values(), default=None)

    def points(self, metric: Metric) -> list[tuple[Attributes, float]]:
        """A metric's points: values of its attributes after `monitor`, and the value."""
        with self._lock:
            return list(self._values[metric.name].items())

    def counts(self, metric: Metric) -> Counter[str]:
        """A counter by the value of its one attribute after `monitor`."""
        return Counter({attribute: int(value) for (attribute,), value in self.points(metric)})

    def refresh(self) -> None:
        """Aggregate what waits in the queues of its monitors."""
        for each in list(self.refreshers):
            each()

    def clear(self) -> None:
        """Reset counters and lock, as a forked child must; gauges stay."""
        self._lock = threading.Lock()
        for each in METRICS:
            if each.kind == "counter":
                self._values[each.name] = _start(each)

    def observations(self, metric: Metric) -> list[Observation]:
        """Points of a metric for OpenTelemetry."""
        names = metric.attributes
        return [
            Observation(
                value,
                {k: v for k, v in zip(names, (self._monitor, *key), strict=True) if v},
            )
            for key, value in self.points(metric)
        ]


def _start(metric: Metric) -> dict[Attributes, float]:
    """First points of a counter: Prometheus sees no increase to a point that did not exist."""
    return {(): 0.0} if metric.kind == "counter" and len(metric.attributes) == 1 else {}


_series: Final[dict[str, Series]] = {}
_lock = threading.Lock()


def series_of(monitor: str) -> Series:
    """The Series of a monitor's name; the first one creates the process's instruments."""
    with _lock:
        if not _series:
            for each in METRICS:
                TELEMETRY.observe(each.name, _callback(each))
        return _series.setdefault(monitor, Series(monitor))


def collected() -> Iterator[tuple[Metric, list[tuple[Attributes, float]]]]:
    """Every metric with points, and its points: values of all attributes, and the value."""
    known = list(_series.items())
    for _, series in known:
        series.refresh()
    for metric in METRICS:
        points = [
            ((name, *attributes), value)
            for name, series in known
            for attributes, value in series.points(metric)
        ]
        if points:
            yield metric, points


def _callback(metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for series in list(_series.values()):
            series.refresh()
            yield from series.observations(metric)

    return observe
