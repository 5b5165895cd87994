"""Metrics of all monitors, as exporters that do not use OpenTelemetry read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlsecops.monitoring.telemetry.exporter import Attributes, all_series
from mlsecops.monitoring.telemetry.metrics import METRICS
from mlsecops.readings import Metric


def collected() -> Iterator[tuple[Metric, list[tuple[Attributes, Any]]]]:
    """Every metric with points, and its points: values of all attributes, and the value.

    The value is a number, or a `Distribution` of a histogram.
    """
    known = all_series()
    for series in known:
        series.refresh()
    for metric in METRICS:
        points = [
            ((series.monitor, *attributes), value)
            for series in known
            for attributes, value in series.points(metric)
        ]
        if points:
            yield metric, points
