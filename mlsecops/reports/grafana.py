"""Grafana dashboard of the monitoring metrics.

table of metrics, alert rules → panels with PromQL queries → `dashboard.json` (plain dictionary)

`mlsecops.reports.pages.dashboard` draws the same panels without Grafana.

Source: Grafana, Dashboard JSON model, schema version 39; Prometheus, Querying.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.readings import Metric

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_HERE: Final = 'monitor=~"$monitor"'
_RATE: Final = "$__rate_interval"
_SCHEMA: Final = 39  # version of the dashboard schema; Grafana 10.4 and later
_COLUMNS: Final = 24  # grid columns of a dashboard; Grafana, Dashboard JSON model, gridPos
_HEIGHT: Final = 8  # grid rows of 30 pixels; chosen: as Grafana's own default
_PALETTE: Final = {">": ("green", "red"), "<": ("red", "green")}


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the legend of its line."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the dashboard, whose `id` the HTML page shares.

    Attributes:
        unit: Grafana's unit (`"percentunit"`, `"s"`, `"ops"`, `"short"`).
        metric: Metric whose alert threshold is drawn as a line, or None.
        top: Largest value of the axis, or None.
    """

    id: str
    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    metric: Metric | None = None
    top: float | None = None


def _now(metric: Metric, *more: str) -> str:
    return f"{metric.prometheus}{{{','.join((_HERE, *more))}}}"


def _rate(metric: Metric, *by: str) -> str:
    return f"sum by ({', '.join(('monitor', *by))}) (rate({_now(metric)}[{_RATE}]))"


def _quantile(share: float, metric: Metric) -> str:
    buckets = f"{metric.prometheus}_bucket{{{_HERE}}}"
    return f"histogram_quantile({share:g}, sum by (monitor, le) (rate({buckets}[{_RATE}])))"


PANELS: Final[tuple[Panel, ...]] = (
    Panel("confidence", "Prediction confidence",
          "Mean and 10th percentile of the highest class probability, and the baseline mean.",
          (Query(_now(telemetry.CONFIDENCE), "{{monitor}} mean"),
           Query(_now(telemetry.CONFIDENCE_BASELINE), "{{monitor}} baseline"),
           Query(_quantile(0.1, telemetry.CONFIDENCE_DISTRIBUTION), "{{monitor}} 10th percentile")),
          unit="percentunit", top=1.0),
    Panel("query-rate", "Query rate by client",
          "Rows per second of the busiest client, and calls per second of all clients. Clients are "
          "not labels, so their number cannot exhaust the metrics store.",
          (Query(_now(telemetry.CLIENT_RATE), "{{monitor}} busiest client"),
           Query(_rate(telemetry.CALLS, "outcome"), "{{monitor}} all clients, {{outcome}}"),
           Query(_rate(telemetry.REFUSALS, "guard"), "{{monitor}} refused by {{guard}}")),
          unit="ops", metric=telemetry.CLIENT_RATE),
    Panel("accuracy", "Accuracy over time",
          "Share of correct predictions among those with labels.",
          (Query(_now(telemetry.ACCURACY), "{{monitor}}"),
           Query(_now(telemetry.REFERENCE_ACCURACY), "{{monitor}} baseline")),
          unit="percentunit", top=1.0),
    Panel("anomaly", "Input anomaly",
          "Share of recent rows that at least one detector flagged.",
          (Query(_now(telemetry.ANOMALY_RATIO), "{{monitor}}"),),
          unit="percentunit", metric=telemetry.ANOMALY_RATIO),
    Panel("drift", "Drift",
          "Largest distances of recent inputs from the baseline, by feature and statistic.",
          (Query(f"topk(5, {_now(telemetry.DRIFT)})", "{{feature}} {{statistic}}"),)),
    Panel("drifted-features", "Drifted features",
          "Number of features whose recent distribution differs from the baseline.",
          (Query(_now(telemetry.DRIFTED_FEATURES), "{{monitor}}"),),
          metric=telemetry.DRIFTED_FEATURES),
    Panel("detectors", "Anomalous rows by detector",
          "Rows per second above the threshold of each detector.",
          (Query(_rate(telemetry.ANOMALY, "detector"), "{{monitor}} {{detector}}"),), unit="ops"),
    Panel("extraction", "Model extraction",
          "Highest extraction score of a client, as a share of the calibrated threshold.",
          (Query(_now(telemetry.EXTRACTION), "{{monitor}}"),), metric=telemetry.EXTRACTION),
    Panel("dropped", "Dropped observations",
          "Calls per second that were not monitored. Every value above zero is a blind spot.",
          (Query(_rate(telemetry.DROPPED), "{{monitor}} dropped"),
           Query(_rate(telemetry.FAILURES), "{{monitor}} monitoring failures")),
          unit="ops", metric=telemetry.DROPPED),
    Panel("duration", "Duration of calls",
          "Median, 95th and 99th percentile of the duration of a call, in seconds.",
          tuple(Query(_quantile(share, telemetry.DURATION),
                      f"{{{{monitor}}}} p{100 * share:g}") for share in (0.5, 0.95, 0.99)),
          unit="s"),
    Panel("classes", "Predicted classes",
          "Predictions per second by class. A class that replaces the others may be an attack.",
          (Query(_rate(telemetry.CLASSES, "class"), "{{class}}"),), unit="ops"),
    Panel("alerts", "Alerts",
          "Alerts raised in the last hour, by rule and severity.",
          (Query(f"sum by (rule, severity) (increase({_now(telemetry.ALERTS)}[1h]))",
                 "{{rule}} ({{severity}})"),)),
)  # fmt: skip


@checked
def grafana_dashboard(
    *, title: str = "mlsecops: model monitoring", rules: Iterable[AlertRule] = DEFAULT_RULES
) -> dict[str, Any]:
    """A dashboard for import into Grafana, with the thresholds of the alert rules.

    Args:
        title: Heading.
        rules: Alert rules whose fixed thresholds are drawn.

    Examples:
        >>> grafana_dashboard()["panels"][0]["title"]
        'Prediction confidence'
    """
    by_metric = {rule.metric: rule for rule in rules if rule.relative_to is None}
    panels = [
        _panel(panel, number, by_metric.get(panel.metric.name) if panel.metric else None)
        for number, panel in enumerate(PANELS, start=1)
    ]
    return {
        "uid": "mlsecops",
        "title": title,
        "tags": ["mlsecops", f"metrics-v{telemetry.VERSION}"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "monitor",
            "label": "Monitor",
            "type": "query",
            "datasource": _SOURCE,
            "query": f"label_values({telemetry.CALLS.prometheus}, monitor)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panel(panel: Panel, number: int, rule: AlertRule | None) -> dict[str, Any]:
    row, column = divmod(number - 1, 2)
    width = _COLUMNS // 2
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"x": column * width, "y": row * _HEIGHT, "w": width, "h": _HEIGHT},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel, rule), "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _defaults(panel: Panel, rule: AlertRule | None) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": {"lineWidth": 2}}
    if panel.top is not None:
        defaults["max"] = panel.top
    if rule is not None:
        below, above = _PALETTE[rule.comparison]
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
        steps = [{"color": below, "value": None}, {"color": above, "value": rule.threshold}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return defaults
