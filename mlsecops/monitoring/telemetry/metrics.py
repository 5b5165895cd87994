"""Table of exported metrics and attributes, read by monitors, rules and dashboards.

Instruments, default rules, Grafana panels and Prometheus rules take their names from this table.
Durations and confidences are histograms: the worker records them in the SDK's instruments, and the
Prometheus page has their `_bucket`, `_count` and `_sum`.
"""

from __future__ import annotations

from typing import Final

from mlsecops import readings
from mlsecops._telemetry import Instrument, Kind, Telemetry
from mlsecops.readings import Metric

SCOPE: Final = "mlsecops.monitoring"
VERSION: Final = "1"

SPAN: Final = "mlsecops.inference"
ALERT_EVENT: Final = "mlsecops.alert"

# Attributes of spans and of the alert event.
MONITOR: Final = "mlsecops.monitor"
DIGEST: Final = "mlsecops.model.digest"
SPAN_OUTCOME: Final = "mlsecops.inference.outcome"
ERROR_TYPE: Final = "error.type"
RULE: Final = "mlsecops.alert.rule"
SEVERITY: Final = "mlsecops.alert.severity"
READING: Final = "mlsecops.alert.reading"
THRESHOLD: Final = "mlsecops.alert.threshold"
WINDOW: Final = "mlsecops.alert.window"
CLIENT: Final = "mlsecops.client"
ATLAS: Final = "mlsecops.alert.atlas"
STATE: Final = "mlsecops.alert.state"
ALERT_ID: Final = "mlsecops.alert.id"

DURATION_BOUNDS: Final[tuple[float, ...]] = (
    0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0
)  # fmt: skip
CONFIDENCE_BOUNDS: Final[tuple[float, ...]] = (
    0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0
)  # fmt: skip


def _counter(name: str, unit: str, description: str, *attributes: str) -> Metric:
    points = ("monitor", *attributes)
    return Metric(name=name, kind="counter", unit=unit, description=description, attributes=points)


def _histogram(name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Metric:
    return Metric(name=name, kind="histogram", unit=unit, description=description, bounds=bounds)


def _gauge(name: str, unit: str, description: str, *attributes: str) -> Metric:
    points = ("monitor", *attributes)
    return Metric(name=name, kind="gauge", unit=unit, description=description, attributes=points)


CALLS: Final = _counter(
    "mlsecops.inference.calls", "{call}",
    "Calls of the model that ended, by outcome (ok, error, refused).",
    "outcome", "error.type",
)  # fmt: skip
DURATION: Final = _histogram(
    "mlsecops.inference.duration", "s",
    "Duration of the calls that were not refused.",
    DURATION_BOUNDS,
)  # fmt: skip
REFUSALS: Final = _counter(
    "mlsecops.guard.refusals", "{call}",
    "Calls that a guard refused.",
    "guard",
)  # fmt: skip
PROCESSED: Final = _counter(
    "mlsecops.monitor.processed", "{call}",
    "Calls that the background worker aggregated.",
)  # fmt: skip
DROPPED: Final = _counter(
    "mlsecops.monitor.dropped", "{call}",
    "Calls that were not observed because the queue was full or the monitor closed.",
)  # fmt: skip
FAILURES: Final = _counter(
    "mlsecops.monitor.failures", "{failure}",
    "Failures of the monitoring itself, which were swallowed.",
)  # fmt: skip
ROWS: Final = _counter(
    "mlsecops.input.rows", "{row}",
    "Input rows that were observed.",
)  # fmt: skip
INPUT_UNREAD: Final = _counter(
    "mlsecops.input.unread", "{call}",
    "Calls whose inputs the baseline could not read, so that nothing watched them.",
)  # fmt: skip
ANSWERS_UNREAD: Final = _counter(
    "mlsecops.answers.unread", "{call}",
    "Calls whose answers could not be read or compared, so that nothing watched them.",
)  # fmt: skip
UNREAD: Final = _gauge(
    "mlsecops.monitor.unread", "1",
    "Share of the recent calls whose inputs, or whose answers, nothing watched.",
)  # fmt: skip
ANOMALY: Final = _counter(
    "mlsecops.input.anomaly", "{row}",
    "Input rows over a detector's calibrated threshold.",
    "detector",
)  # fmt: skip
ANOMALY_RATIO: Final = readings.ANOMALY_RATIO
CONFIDENCE: Final = _gauge(
    "mlsecops.prediction.confidence", "1",
    "Mean confidence (largest probability) of the recent predictions.",
)  # fmt: skip
CONFIDENCE_BASELINE: Final = _gauge(
    "mlsecops.prediction.confidence.baseline", "1",
    "Mean confidence of the baseline's predictions.",
)  # fmt: skip
CONFIDENCE_DISTRIBUTION: Final = _histogram(
    "mlsecops.prediction.confidence.distribution", "1",
    "Confidence (largest probability) of all predictions.",
    CONFIDENCE_BOUNDS,
)  # fmt: skip
CONFIDENCE_CHANGES: Final = _counter(
    "mlsecops.prediction.confidence.changes", "{change}",
    "Lasting shifts of confidence away from the baseline, up or down.",
)  # fmt: skip
CLASSES: Final = _counter(
    "mlsecops.prediction.classes", "{prediction}",
    "Predictions by predicted class.",
    "class",
)  # fmt: skip
DRIFT: Final = _gauge(
    "mlsecops.drift", "1",
    "Distance of the recent inputs from the baseline, for the features furthest away.",
    "feature", "statistic",
)  # fmt: skip
DRIFTED: Final = _gauge(
    "mlsecops.drift.drifted", "1",
    "Whether a feature's recent distribution differs from the baseline's, 1 or 0.",
    "feature",
)  # fmt: skip
DRIFTED_FEATURES: Final = _gauge(
    "mlsecops.drift.features", "{feature}",
    "Features whose recent distribution differs from the baseline's.",
)  # fmt: skip
DRIFTED_PREDICTIONS: Final = _gauge(
    "mlsecops.drift.predictions", "1",
    "Features of the answers, such as confidence and class, that differ from the baseline's.",
)  # fmt: skip
EXTRACTION: Final = readings.EXTRACTION
COVERAGE: Final = readings.COVERAGE
CLIENTS: Final = _gauge(
    "mlsecops.monitor.clients", "{client}",
    "Clients whose recent traffic is being remembered.",
)  # fmt: skip
CLIENT_RATE: Final = _gauge(
    "mlsecops.client.rate", "{row}/s",
    "Query rate of the busiest client, in rows a second.",
)  # fmt: skip
ACCURACY: Final = _gauge(
    "mlsecops.model.accuracy", "1",
    "Accuracy over the recent predictions whose labels have arrived.",
)  # fmt: skip
REFERENCE_ACCURACY: Final = _gauge(
    "mlsecops.model.accuracy.baseline", "1",
    "Accuracy on the baseline, or over the first labelled predictions without one.",
)  # fmt: skip
ACCURACY_LIMIT: Final = _gauge(
    "mlsecops.model.accuracy.limit", "1",
    "Accuracy that chance explains at the declared rate of false alarms: only less is a drop.",
)  # fmt: skip
EXPECTED_ACCURACY: Final = _gauge(
    "mlsecops.model.accuracy.expected", "1",
    "Accuracy to expect of the recent predictions, by their confidence (no labels).",
)  # fmt: skip
EXPECTED_LOSS: Final = _gauge(
    "mlsecops.model.loss.expected", "1",
    "Loss to expect of the recent answers that are no classes (no labels).",
)  # fmt: skip
REFERENCE_LOSS: Final = _gauge(
    "mlsecops.model.loss.baseline", "1",
    "Loss on the baseline's labels.",
)  # fmt: skip
ACCURACY_SLIDE: Final = _gauge(
    "mlsecops.model.accuracy.slide", "1",
    "Accuracy lost in the latest slow change, by the labels that arrived.",
)  # fmt: skip
LABELS: Final = _counter(
    "mlsecops.model.labels", "{label}",
    "Labels that arrived: matched, unknown, or forwarded to the service's other processes.",
    "outcome",
)  # fmt: skip
ALERTS: Final = _counter(
    "mlsecops.alerts", "{alert}",
    "Alerts that began to fire, by rule and severity.",
    "rule", "severity",
)  # fmt: skip

# Readings of the recent rows, which go when these rows are older than the window.
OF_THE_WINDOW: Final = (
    CONFIDENCE,
    EXPECTED_ACCURACY,
    EXPECTED_LOSS,
    ANOMALY_RATIO,
    DRIFT,
    DRIFTED,
    DRIFTED_FEATURES,
    DRIFTED_PREDICTIONS,
)

# All of the above, in this order.
METRICS: Final = tuple(each for each in globals().values() if isinstance(each, Metric))
LIMITS: Final = {ACCURACY.name: ACCURACY_LIMIT}
"""Gauge → the one of what chance explains at the declared rate, with which it is compared."""
_BY_NAME: Final = {each.name: each for each in METRICS}

_INSTRUMENTS: Final[dict[str, Kind]] = {
    "counter": "observable counter",
    "gauge": "observable gauge",
    "histogram": "histogram",
}
TELEMETRY: Final = Telemetry(
    SCOPE,
    VERSION,
    {
        each.name: Instrument(_INSTRUMENTS[each.kind], each.unit, each.description, each.bounds)
        for each in METRICS
    },
)


def metric(name: str) -> Metric:
    """The metric of that name."""
    return _BY_NAME[name]
