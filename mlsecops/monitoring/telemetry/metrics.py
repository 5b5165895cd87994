"""Table of exported metrics and attributes, read by monitors, rules and dashboards.

Instruments, default rules, Grafana panels and Prometheus rules take their names from this table.
OpenTelemetry has no observable histogram: a distribution is exported as three counters, `.bucket`
(cumulative, attribute `le`), `.count` and `.sum`, which Prometheus' `histogram_quantile` reads.
"""

from __future__ import annotations

from typing import Final

from mlsecops._telemetry import Instrument, Telemetry
from mlsecops.readings import ANOMALY_RATIO, COVERAGE, EXTRACTION, Metric

__all__ = [
    "ACCURACY",
    "ACCURACY_SLIDE",
    "ALERTS",
    "ALERT_EVENT",
    "ANOMALY",
    "ANOMALY_RATIO",
    "ATLAS",
    "CALLS",
    "CLASSES",
    "CLIENT",
    "CLIENTS",
    "CLIENT_RATE",
    "CONFIDENCE",
    "CONFIDENCE_BASELINE",
    "CONFIDENCE_BOUNDS",
    "CONFIDENCE_BUCKET",
    "CONFIDENCE_CHANGES",
    "CONFIDENCE_COUNT",
    "CONFIDENCE_SUM",
    "COVERAGE",
    "DIGEST",
    "DRIFT",
    "DRIFTED_FEATURES",
    "DRIFTED_PREDICTIONS",
    "DROPPED",
    "DURATION_BOUNDS",
    "DURATION_BUCKET",
    "DURATION_COUNT",
    "DURATION_SUM",
    "ERROR_TYPE",
    "EXPECTED_ACCURACY",
    "EXTRACTION",
    "FAILURES",
    "LABELS",
    "METRICS",
    "MONITOR",
    "PROCESSED",
    "READING",
    "REFERENCE_ACCURACY",
    "REFUSALS",
    "ROWS",
    "RULE",
    "SCOPE",
    "SEVERITY",
    "SPAN",
    "SPAN_OUTCOME",
    "TELEMETRY",
    "THRESHOLD",
    "VERSION",
    "WINDOW",
    "Metric",
    "metric",
]

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

DURATION_BOUNDS: Final[tuple[float, ...]] = (
    0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0
)  # fmt: skip
CONFIDENCE_BOUNDS: Final[tuple[float, ...]] = (
    0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0
)  # fmt: skip


CALLS: Final = Metric(
    name="mlsecops.inference.calls",
    kind="counter",
    unit="{call}",
    description="Calls of the model that ended, by outcome (ok, error, refused).",
    attributes=("monitor", "outcome", "error.type"),
)
DURATION_BUCKET: Final = Metric(
    name="mlsecops.inference.duration.bucket",
    kind="counter",
    unit="{call}",
    description="Calls that took at most le seconds (cumulative).",
    attributes=("monitor", "le"),
)
DURATION_COUNT: Final = Metric(
    name="mlsecops.inference.duration.count",
    kind="counter",
    unit="{call}",
    description="Calls whose duration was recorded.",
)
DURATION_SUM: Final = Metric(
    name="mlsecops.inference.duration.sum",
    kind="counter",
    unit="s",
    description="Total duration of the recorded calls.",
)
REFUSALS: Final = Metric(
    name="mlsecops.guard.refusals",
    kind="counter",
    unit="{call}",
    description="Calls that a guard refused.",
    attributes=("monitor", "guard"),
)
PROCESSED: Final = Metric(
    name="mlsecops.monitor.processed",
    kind="counter",
    unit="{call}",
    description="Calls that the background worker aggregated.",
)
DROPPED: Final = Metric(
    name="mlsecops.monitor.dropped",
    kind="counter",
    unit="{call}",
    description="Calls that were not observed because the queue was full or the monitor closed.",
)
FAILURES: Final = Metric(
    name="mlsecops.monitor.failures",
    kind="counter",
    unit="{failure}",
    description="Failures of the monitoring itself, which were swallowed.",
)
ROWS: Final = Metric(
    name="mlsecops.input.rows",
    kind="counter",
    unit="{row}",
    description="Input rows that were observed.",
)
ANOMALY: Final = Metric(
    name="mlsecops.input.anomaly",
    kind="counter",
    unit="{row}",
    description="Input rows over a detector's calibrated threshold.",
    attributes=("monitor", "detector"),
)
CONFIDENCE: Final = Metric(
    name="mlsecops.prediction.confidence",
    kind="gauge",
    unit="1",
    description="Mean confidence (largest probability) of the recent predictions.",
)
CONFIDENCE_BASELINE: Final = Metric(
    name="mlsecops.prediction.confidence.baseline",
    kind="gauge",
    unit="1",
    description="Mean confidence of the baseline's predictions.",
)
CONFIDENCE_BUCKET: Final = Metric(
    name="mlsecops.prediction.confidence.bucket",
    kind="counter",
    unit="{prediction}",
    description="Predictions with a confidence of at most le (cumulative).",
    attributes=("monitor", "le"),
)
CONFIDENCE_COUNT: Final = Metric(
    name="mlsecops.prediction.confidence.count",
    kind="counter",
    unit="{prediction}",
    description="Predictions whose confidence was recorded.",
)
CONFIDENCE_SUM: Final = Metric(
    name="mlsecops.prediction.confidence.sum",
    kind="counter",
    unit="1",
    description="Sum of the confidences of all predictions.",
)
CONFIDENCE_CHANGES: Final = Metric(
    name="mlsecops.prediction.confidence.changes",
    kind="counter",
    unit="{change}",
    description="Lasting shifts of confidence away from the baseline, up or down.",
)
CLASSES: Final = Metric(
    name="mlsecops.prediction.classes",
    kind="counter",
    unit="{prediction}",
    description="Predictions by predicted class.",
    attributes=("monitor", "class"),
)
DRIFT: Final = Metric(
    name="mlsecops.drift",
    kind="gauge",
    unit="1",
    description="Distance of the recent inputs from the baseline, for the features furthest away.",
    attributes=("monitor", "feature", "statistic"),
)
DRIFTED_FEATURES: Final = Metric(
    name="mlsecops.drift.features",
    kind="gauge",
    unit="{feature}",
    description="Features whose recent distribution differs from the baseline's.",
)
DRIFTED_PREDICTIONS: Final = Metric(
    name="mlsecops.drift.predictions",
    kind="gauge",
    unit="1",
    description="How many of confidence and predicted class differ from the baseline's, 0 to 2.",
)
CLIENTS: Final = Metric(
    name="mlsecops.monitor.clients",
    kind="gauge",
    unit="{client}",
    description="Clients whose recent traffic is being remembered.",
)
CLIENT_RATE: Final = Metric(
    name="mlsecops.client.rate",
    kind="gauge",
    unit="{row}/s",
    description="Query rate of the busiest client, in rows a second.",
)
ACCURACY: Final = Metric(
    name="mlsecops.model.accuracy",
    kind="gauge",
    unit="1",
    description="Accuracy over the recent predictions whose labels have arrived.",
)
REFERENCE_ACCURACY: Final = Metric(
    name="mlsecops.model.accuracy.baseline",
    kind="gauge",
    unit="1",
    description="Accuracy on the baseline, or over the first labelled predictions without one.",
)
EXPECTED_ACCURACY: Final = Metric(
    name="mlsecops.model.accuracy.expected",
    kind="gauge",
    unit="1",
    description="Accuracy to expect of the recent predictions, by their confidence (no labels).",
)
ACCURACY_SLIDE: Final = Metric(
    name="mlsecops.model.accuracy.slide",
    kind="gauge",
    unit="1",
    description="Accuracy lost in the latest slow change, by the labels that arrived.",
)
LABELS: Final = Metric(
    name="mlsecops.model.labels",
    kind="counter",
    unit="{label}",
    description="Labels that arrived, by whether a prediction matched (matched, unknown).",
    attributes=("monitor", "outcome"),
)
ALERTS: Final = Metric(
    name="mlsecops.alerts",
    kind="counter",
    unit="{alert}",
    description="Alerts raised in this process, by rule and severity.",
    attributes=("monitor", "rule", "severity"),
)

METRICS: Final[tuple[Metric, ...]] = (
    CALLS,
    DURATION_BUCKET,
    DURATION_COUNT,
    DURATION_SUM,
    REFUSALS,
    PROCESSED,
    DROPPED,
    FAILURES,
    ROWS,
    ANOMALY,
    ANOMALY_RATIO,
    CONFIDENCE,
    CONFIDENCE_BASELINE,
    CONFIDENCE_BUCKET,
    CONFIDENCE_COUNT,
    CONFIDENCE_SUM,
    CONFIDENCE_CHANGES,
    CLASSES,
    DRIFT,
    DRIFTED_FEATURES,
    DRIFTED_PREDICTIONS,
    EXTRACTION,
    COVERAGE,
    CLIENTS,
    CLIENT_RATE,
    ACCURACY,
    REFERENCE_ACCURACY,
    EXPECTED_ACCURACY,
    ACCURACY_SLIDE,
    LABELS,
    ALERTS,
)

_BY_NAME: Final = {each.name: each for each in METRICS}

TELEMETRY: Final = Telemetry(
    SCOPE,
    VERSION,
    {
        each.name: Instrument(
            "observable counter" if each.kind == "counter" else "observable gauge",
            each.unit,
            each.description,
        )
        for each in METRICS
    },
)


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: The table has no such metric.

    Examples:
        >>> metric("mlsecops.drift").kind
        'gauge'
    """
    return _BY_NAME[name]
