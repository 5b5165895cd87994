"""Metrics of all monitors for Amazon CloudWatch.

monitors → increases of counters since the last call, latest values of gauges → log lines in the
embedded metric format (JSON, nothing to install), or `PutMetricData` calls of a boto3 client
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from mlsecops._choices import named
from mlsecops._repr import concise_repr
from mlsecops.errors import MLSecOpsError
from mlsecops.monitoring.instruments import collected
from mlsecops.readings import Metric

__all__ = ["CloudWatch"]

Attributes: TypeAlias = tuple[str, ...]
Collected: TypeAlias = tuple[Metric, list[tuple[Attributes, float]]]
Datum: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, Attributes]
Totals: TypeAlias = dict[Key, float]
Dimensions: TypeAlias = tuple[tuple[str, str], ...]

_UNITS: Final = {"s": "Seconds", "1": "None", "/s": "Count/Second"}
_ANNOTATION: Final = re.compile(r"\{.*\}")
_MAX_DATA: Final = 1000  # data in a request; PutMetricData, MetricData
_BUCKET: Final = ".bucket"
_DISTRIBUTION: Final = ".distribution"
_LONGEST: Final = 1024  # characters of a value; CloudWatch API, Dimension


@concise_repr("_namespace")
@named
class CloudWatch:
    """Exports metrics since the last export; make one for each process.

    Args:
        namespace: Namespace of the metrics in CloudWatch.
        clock: Returns Unix time in seconds.
    """

    def __init__(
        self, *, namespace: str = "mlsecops", clock: Callable[[], float] = time.time
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._sent: Totals = {}

    def lines(self) -> list[str]:
        """Metrics as lines in the embedded metric format, one for each set of dimensions.

        Print them where CloudWatch reads logs. Distributions are `.count` and `.sum` alone.

        Source: Amazon CloudWatch, "Specification: Embedded metric format" (version 0).
        """
        at = int(self._clock() * 1000)
        grouped: dict[Dimensions, dict[str, tuple[float, str]]] = {}
        now = list(_counters())
        for metric, attributes, value in self._fresh(now):
            place = grouped.setdefault(_dimensions(metric, attributes), {})
            place[metric.name] = (value, _unit(metric))
        self._sent.update(_totals(now))
        return [self._line(at, dimensions, values) for dimensions, values in grouped.items()]

    def put(self, client: Any) -> int:
        """Send metrics and distributions with `PutMetricData`.

        Args:
            client: `boto3.client("cloudwatch")`.

        Returns:
            Number of data that were sent.

        Raises:
            MLSecOpsError: CloudWatch refuses or cannot be reached; the next call sends the rest.

        Source: Amazon CloudWatch API, PutMetricData (1,000 data a request; values with counts).
        """
        now = list(_counters())
        totals = _totals(now)
        data = [*self._plain(now), *self._distributions(now)]
        for start in range(0, len(data), _MAX_DATA):
            some = data[start : start + _MAX_DATA]
            try:
                client.put_metric_data(
                    Namespace=self._namespace, MetricData=[datum for _, datum in some]
                )
            except Exception as error:
                raise MLSecOpsError(
                    f"cloudwatch: sent {start} of {len(data)} data, then: {error}"
                ) from error
            for keys, _ in some:
                self._sent.update({key: totals[key] for key in keys})
        return len(data)

    def _fresh(self, now: Sequence[Collected]) -> Iterator[tuple[Metric, Attributes, float]]:
        for metric, points in now:
            for attributes, value in () if metric.name.endswith(_BUCKET) else points:
                fresh = value if metric.kind == "gauge" else self._grown(metric, attributes, value)
                if math.isfinite(fresh) and (fresh or metric.kind == "gauge"):
                    yield metric, attributes, fresh

    def _grown(self, metric: Metric, attributes: Attributes, value: float) -> float:
        since = self._sent.get((metric.name, attributes), 0.0)
        return value - since if value >= since else value  # a forked child starts at zero

    def _plain(self, now: Sequence[Collected]) -> Iterator[tuple[list[Key], Datum]]:
        for metric, attributes, value in self._fresh(now):
            datum = {**self._datum(metric.name, metric, attributes), "Value": value}
            yield [(metric.name, attributes)], datum

    def _distributions(self, now: Sequence[Collected]) -> Iterator[tuple[list[Key], Datum]]:
        """Buckets as values with counts; the value is the upper bound of the bucket."""
        for metric, points in now:
            if not metric.name.endswith(_BUCKET):
                continue
            for monitor in dict.fromkeys(attributes[0] for attributes, _ in points):
                own = {a: value for a, value in points if a[0] == monitor}
                counts = _differences([self._grown(metric, a, value) for a, value in own.items()])
                bounds = _bounds([le for _, le in own])
                kept = [(b, c) for b, c in zip(bounds, counts, strict=True) if c > 0]
                if kept:
                    base = metric.name.removesuffix(_BUCKET).removesuffix(_DISTRIBUTION)
                    name = base + _DISTRIBUTION
                    values, numbers = zip(*kept, strict=True)
                    datum = self._datum(name, metric, (monitor,))
                    keys = [(metric.name, attributes) for attributes in own]
                    yield keys, {**datum, "Values": list(values), "Counts": list(numbers)}

    def _datum(self, name: str, metric: Metric, attributes: Attributes) -> Datum:
        pairs = _dimensions(metric, attributes)
        return {
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in pairs],
            "Timestamp": self._clock(),
            "Unit": _unit(metric),
        }

    def _line(self, at: int, dimensions: Dimensions, values: dict[str, tuple[float, str]]) -> str:
        described = {
            "Namespace": self._namespace,
            "Dimensions": [[name for name, _ in dimensions]],
            "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
        }
        return json.dumps(
            {
                "_aws": {"Timestamp": at, "CloudWatchMetrics": [described]},
                **dict(dimensions),
                **{name: value for name, (value, _) in values.items()},
            }
        )


def _counters() -> Iterator[Collected]:
    """All metrics, with a histogram as counters: its cumulative buckets, its count and its sum."""
    for metric, points in collected(service=False):  # each process sends its own
        if metric.kind != "histogram":
            yield metric, points
            continue
        names = (*(f"{bound:g}" for bound in metric.bounds), "+Inf")
        yield (
            replace(metric, name=metric.name + _BUCKET, attributes=(*metric.attributes, "le")),
            [
                ((*attributes, name), float(upto))
                for attributes, known in points
                for name, upto in zip(names, known.counts.cumsum().tolist(), strict=True)
            ],
        )
        count = replace(metric, name=f"{metric.name}.count", kind="counter", unit="{value}")
        yield count, [(attributes, float(known.count)) for attributes, known in points]
        total = replace(metric, name=f"{metric.name}.sum", kind="counter")
        yield total, [(attributes, known.total) for attributes, known in points]


def _totals(now: Sequence[Collected]) -> Totals:
    return {(metric.name, each): value for metric, points in now for each, value in points}


def _dimensions(metric: Metric, attributes: Attributes) -> Dimensions:
    """Attributes with a value, as CloudWatch accepts them: short and ASCII."""
    pairs = zip(metric.attributes, attributes, strict=False)
    plain = ((name, each.encode("ascii", "backslashreplace").decode()) for name, each in pairs)
    return tuple((name, each.lstrip(":")[:_LONGEST]) for name, each in plain if each.strip(" :"))


def _unit(metric: Metric) -> str:
    return _UNITS.get(_ANNOTATION.sub("", metric.unit), "Count")


def _differences(cumulative: list[float]) -> list[float]:
    return [after - before for before, after in zip([0.0, *cumulative], cumulative, strict=False)]


def _bounds(names: list[str]) -> list[float]:
    """Upper bounds of buckets; the last, unbounded one gets the bound before it."""
    finite = [float(name) for name in names if name != "+Inf"]
    return [*finite, finite[-1]][: len(names)]
