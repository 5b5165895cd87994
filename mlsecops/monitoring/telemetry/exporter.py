"""OpenTelemetry exporter of all monitors' aggregates.

worker → Series of a monitor's name → observable counters and gauges → metric readers
values of a batch → Series.record → Distribution, and the SDK's histogram

Monitors of the same name share one Series: their counters add up, and the counts of a closed or
collected monitor stay, so that no counter decreases. Of their gauges the newest is exported.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from opentelemetry.metrics import CallbackOptions, Observation

from mlsecops.monitoring.telemetry.metrics import METRICS, TELEMETRY
from mlsecops.readings import Metric

_MOST_SERIES: Final = 256  # points of a metric; chosen: further attribute values become "other"
_OTHER: Final = "other"

Attributes: TypeAlias = tuple[str, ...]
Points: TypeAlias = dict[Attributes, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """One point of a histogram.

    Attributes:
        counts: Values in each bucket `(b + 1,)`, not cumulative; the last has no upper bound.
        total: Sum of the values.
    """

    counts: NDArray[np.int64]
    total: float

    @classmethod
    def of(cls, values: NDArray[np.float64], bounds: tuple[float, ...]) -> Distribution:
        """Values by bucket; NaN is left out, as it has no bucket."""
        known = values[~np.isnan(values)]
        slots = np.bincount(np.searchsorted(bounds, known), minlength=len(bounds) + 1)
        return cls(slots.astype(np.int64), float(known.sum()))

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(self.counts + other.counts, self.total + other.total)

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self.counts.sum())


class SeriesSource(Protocol):
    """A monitor, as its Series uses it."""

    def refresh(self) -> None:
        """Aggregate what waits in the queue."""

    def shared(self) -> Any:
        """The recent traffic, for the other processes of the service."""

    def joined(self, others: Sequence[Any]) -> dict[str, Points]:
        """Readings over the recent traffic of all processes, by the metric's name."""


class Series:
    """Values of all metrics of one monitor name, by their attributes after `monitor`.

    Attributes:
        monitor: The name.
        sources: The monitors of the name, which aggregate what waits in their queues.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._lock = threading.Lock()
        self._values: dict[str, dict[Attributes, Any]] = {
            each.name: start(each) for each in METRICS
        }
        self.sources: list[SeriesSource] = []

    def add(self, metric: Metric, amount: float, *attributes: str) -> None:
        """Increase a counter; an amount of 0 creates the point."""
        with self._lock:
            values, key = self._place(metric, attributes)
            values[key] = values.get(key, 0.0) + amount

    def record(self, metric: Metric, values: NDArray[np.float64], *attributes: str) -> None:
        """Add values `(n,)` to a histogram, here and in OpenTelemetry's; none creates the point."""
        grown = Distribution.of(values, metric.bounds)
        with self._lock:
            points, key = self._place(metric, attributes)
            points[key] = points[key] + grown if key in points else grown
        if len(values):
            TELEMETRY.record(metric.name, values.tolist(), self._named(metric, key))

    def replace(self, metric: Metric, values: dict[Attributes, float]) -> None:
        """Set all points of a gauge."""
        with self._lock:
            self._values[metric.name] = dict(list(values.items())[:_MOST_SERIES])

    def total(self, metric: Metric) -> float:
        """Sum of a counter's points."""
        with self._lock:
            return float(sum(self._values[metric.name].values()))

    def largest(self, metric: Metric) -> float | None:
        """Largest of a gauge's points, or None if it has none."""
        with self._lock:
            return max(self._values[metric.name].values(), default=None)

    def points(self, metric: Metric) -> list[tuple[Attributes, Any]]:
        """A metric's points: values of its attributes after `monitor`, and the value.

        The value is a number, or a `Distribution` of a histogram.
        """
        with self._lock:
            return list(self._values[metric.name].items())

    def counts(self, metric: Metric) -> Counter[str]:
        """A counter by the value of its one attribute after `monitor`."""
        return Counter({attribute: int(value) for (attribute,), value in self.points(metric)})

    def refresh(self) -> None:
        """Aggregate what waits in the queues of its monitors."""
        for each in list(self.sources):
            each.refresh()

    def clear(self) -> None:
        """Reset counters, histograms and the lock, as a forked child must; gauges stay."""
        self._lock = threading.Lock()
        for each in METRICS:
            if each.kind != "gauge":
                self._values[each.name] = dict.fromkeys(self._values[each.name], 0.0)
            if each.kind == "histogram":
                self._values[each.name] = start(each)

    def observations(self, metric: Metric) -> list[Observation]:
        """Points of a metric for OpenTelemetry."""
        return [Observation(value, self._named(metric, key)) for key, value in self.points(metric)]

    def _place(
        self, metric: Metric, attributes: Attributes
    ) -> tuple[dict[Attributes, Any], Attributes]:
        """The points of a metric, and the key of the one with these attributes."""
        values = self._values[metric.name]
        full = attributes not in values and len(values) >= _MOST_SERIES
        return values, (_OTHER,) * len(attributes) if full else attributes

    def _named(self, metric: Metric, attributes: Attributes) -> dict[str, str]:
        pairs = zip(metric.attributes, (self.monitor, *attributes), strict=True)
        return {name: value for name, value in pairs if value}


def start(metric: Metric) -> Points:
    """First points of a metric: Prometheus sees no increase to a point that did not exist."""
    if metric.kind == "gauge" or len(metric.attributes) > 1:
        return {}
    return {(): 0.0 if metric.kind == "counter" else Distribution.of(np.empty(0), metric.bounds)}


_series: Final[dict[str, Series]] = {}
_lock = threading.Lock()


def series_of(monitor: str) -> Series:
    """The Series of a monitor's name; the first one creates the process's instruments."""
    with _lock:
        if not _series:
            for each in METRICS:
                if each.kind != "histogram":
                    TELEMETRY.observe(each.name, _callback(each))
        return _series.setdefault(monitor, Series(monitor))


def all_series() -> list[Series]:
    """The Series of every monitor name of this process."""
    return list(_series.values())


def _callback(metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for series in all_series():
            series.refresh()
            yield from series.observations(metric)

    return observe
