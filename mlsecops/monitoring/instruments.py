"""Metrics of all monitors, as exporters that do not use OpenTelemetry read them.

Series of this process → with those of the service's other processes → points of each metric
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlsecops.monitoring.service.folder import ServiceFolder, service_folder
from mlsecops.monitoring.service.processes import count_calls, read_others
from mlsecops.monitoring.service.state import ProcessState
from mlsecops.monitoring.telemetry.exporter import Attributes, Series, all_series
from mlsecops.monitoring.telemetry.metrics import METRICS
from mlsecops.readings import Metric


def collected(*, service: bool = True) -> Iterator[tuple[Metric, list[tuple[Attributes, Any]]]]:
    """Every metric with points, and its points: values of all attributes, and the value.

    The value is a number, or a `Distribution` of a histogram. With `service` they are those of all
    processes that share the folder of `PROMETHEUS_MULTIPROC_DIR`, if it is set.
    """
    known = all_series()
    for series in known:
        series.refresh()
    state = ProcessState.of(known)
    folder = service_folder() if service else None
    if folder is not None:
        _join(state, known, folder)
    for metric in METRICS:
        points = [
            ((monitor, *attributes), value)
            for monitor, metrics in state.points.items()
            for attributes, value in metrics.get(metric.name, {}).items()
        ]
        if points:
            yield metric, points


def _join(state: ProcessState, known: Sequence[Series], folder: ServiceFolder) -> None:
    """Add the counts of the other processes, and the readings over all of them."""
    count_calls(state, folder.tallies(folder.name), alive=True)
    others = read_others(folder)
    for other in others:
        state.add(other.state)
    living = [each.state for each in others if each.alive]
    for each in living:
        _worst(state, each)
    for series in known:
        windows = [
            each.windows[series.monitor] for each in living if series.monitor in each.windows
        ]
        if windows and series.sources:
            state.points[series.monitor] |= series.sources[-1].joined(windows)


def _worst(state: ProcessState, other: ProcessState) -> None:
    """Take the larger of two processes' gauges, where nothing better is known of their traffic."""
    for metric in METRICS:
        if metric.kind != "gauge":
            continue
        for monitor, metrics in other.points.items():
            own = state.points.setdefault(monitor, {}).setdefault(metric.name, {})
            for key, value in metrics.get(metric.name, {}).items():
                own[key] = max(own.get(key, value), value)
