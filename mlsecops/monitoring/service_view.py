"""Snapshot of a service: a monitor's state over all its processes, for a page.

points of all processes, alerts that fire in any → plain values as `MonitorState.to_dict` has them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlsecops.monitoring.instruments import collected
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.service.alert_table import AlertTable
from mlsecops.monitoring.service.folder import service_folder
from mlsecops.monitoring.service.processes import read_others
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Points

_SUMS: Final = {
    "calls": telemetry.CALLS,
    "processed": telemetry.PROCESSED,
    "dropped": telemetry.DROPPED,
    "failures": telemetry.FAILURES,
    "unread_inputs": telemetry.INPUT_UNREAD,
    "unread_answers": telemetry.ANSWERS_UNREAD,
}
_READINGS: Final = {
    "confidence": telemetry.CONFIDENCE,
    "anomaly": telemetry.ANOMALY_RATIO,
    "accuracy": telemetry.ACCURACY,
    "expected_accuracy": telemetry.EXPECTED_ACCURACY,
    "expected_loss": telemetry.EXPECTED_LOSS,
}


def service_snapshot(monitor: Monitor) -> dict[str, Any]:
    """Plain values of a monitor's state over all processes of its service.

    Clients are those of this process, since the others do not know their names. Without a folder
    of the service it is the monitor's own state.
    """
    own = monitor.snapshot().to_dict()
    folder = service_folder()
    if folder is None:
        return own
    points = {
        metric.name: {key[1:]: value for key, value in found if key[0] == monitor.name}
        for metric, found in collected()
    }
    alive = 1 + sum(each.alive for each in read_others(folder))
    known = {name: points.get(metric.name, {}) for name, metric in (_SUMS | _READINGS).items()}
    anomalies = points.get(telemetry.ANOMALY.name, {})
    return own | {
        **{name: int(sum(known[name].values())) for name in _SUMS},
        **{name: known[name].get(()) for name in _READINGS},
        "drift": _drift(points),
        "confidences": _confidences(points),
        "anomalies": {key[0]: int(value) for key, value in anomalies.items()},
        "alerts": _alerts(own["alerts"], AlertTable(folder).firing(monitor.name)),
        "processes": alive,
    }


def _drift(points: Mapping[str, Points]) -> dict[str, Any] | None:
    """Distances of the features furthest from the baseline, and which of them drifted."""
    features: dict[str, dict[str, Any]] = {}
    for (name, statistic), value in points.get(telemetry.DRIFT.name, {}).items():
        features.setdefault(name, {})[statistic] = value
    for (name,), value in points.get(telemetry.DRIFTED.name, {}).items():
        features.setdefault(name, {})["drifted"] = bool(value)
    whole = {name: each for name, each in features.items() if {"ks", "drifted"} <= set(each)}
    if not whole:
        return None
    return {"drifted": [name for name in whole if whole[name]["drifted"]], "features": whole}


def _confidences(points: Mapping[str, Points]) -> dict[str, int]:
    metric = telemetry.CONFIDENCE_DISTRIBUTION
    known = points.get(metric.name, {}).get(())
    bounds = (*(f"{bound:g}" for bound in metric.bounds), "+Inf")
    return {} if known is None else dict(zip(bounds, known.counts.tolist(), strict=True))


def _alerts(own: list[dict[str, Any]], firing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """This process's alerts, and those that fire in another one, oldest first."""
    known = {each["id"] for each in own}
    every = [*own, *(each for each in firing if each["id"] not in known)]
    return sorted(every, key=lambda each: str(each["at"]))
