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
_REPLICAS: Final = 3  # lines of a monitor; chosen: a service of many replicas stays readable
_SCHEMA: Final = 39  # version of the dashboard schema; Grafana 10.4 and later
_COLUMNS: Final = 24  # grid columns of a dashboard; Grafana, Dashboard JSON model, gridPos
_HEIGHT: Final = 8  # grid rows of 30 pixels; chosen: as Grafana's own default
_LIST: Final = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_TABLE: Final = {"displayMode": "table", "placement": "right", "showLegend": True,
                 "calcs": ["lastNotNull"], "sortBy": "Last *", "sortDesc": True}  # fmt: skip
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
        many: Whether a monitor has many lines; the legend is then a table, the largest first.
    """

    id: str
    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    metric: Metric | None = None
    top: float | None = None
    many: bool = False


def _now(metric: Metric, *more: str) -> str:
    return f"{metric.prometheus}{{{','.join((_HERE, *more))}}}"


def _or_none(expression: str) -> str:
    """A query with a line without values for each monitor that has no such reading.

    "Nothing was measured" then looks different from "nobody is monitored here".
    """
    return f"{expression} or on (monitor) max by (monitor) ({_now(telemetry.CALLS)}) * NaN"


def _worst(metric: Metric, *, lowest: bool = False) -> str:
    """The replicas that are worst off, with their own labels."""
    worst = "bottomk" if lowest else "topk"
    return _or_none(f"{worst} by (monitor) ({_REPLICAS}, {_now(metric)})")


def _rate(metric: Metric, *by: str) -> str:
    rate = f"sum by ({', '.join(('monitor', *by))}) (rate({_now(metric)}[{_RATE}]))"
    return _or_none(rate) if by else rate


def _quantile(share: float, metric: Metric, *, lowest: bool = False) -> str:
    """The worst replica's quantile: the mean over replicas would hide it."""
    buckets = f"{metric.prometheus}_bucket{{{_HERE}}}"
    rates = f"sum by (monitor, instance, le) (rate({buckets}[{_RATE}]))"
    worst = "min" if lowest else "max"
    return f"{worst} by (monitor) (histogram_quantile({share:g}, {rates}))"


def _drifted() -> str:
    """Distances of the features that drifted: two of them are comparable, two measures are not."""
    distance = _now(telemetry.DRIFT, 'statistic="ks"')
    drifted = f"{_now(telemetry.DRIFTED)} == 1"
    return _or_none(f"{distance} and ignoring (statistic) ({drifted})")


_REPLICA: Final = "{{monitor}} {{instance}}"

PANELS: Final[tuple[Panel, ...]] = (
    Panel("confidence", "Prediction confidence",
          "Mean confidence of the three least confident replicas, 10th percentile of the least "
          "confident one, and the baseline mean.",
          (Query(_worst(telemetry.CONFIDENCE, lowest=True), f"{_REPLICA} mean"),
           Query(_worst(telemetry.CONFIDENCE_BASELINE), f"{_REPLICA} baseline"),
           Query(_quantile(0.1, telemetry.CONFIDENCE_DISTRIBUTION, lowest=True),
                 "{{monitor}} 10th percentile")),
          unit="percentunit", top=1.0),
    Panel("query-rate", "Query rate by client",
          "Rows per second of the busiest client, and calls per second of all clients. Clients are "
          "not labels, so their number cannot exhaust the metrics store.",
          (Query(_worst(telemetry.CLIENT_RATE), f"{_REPLICA} busiest client"),
           Query(_rate(telemetry.CALLS, "outcome"), "{{monitor}} all clients, {{outcome}}"),
           Query(_rate(telemetry.REFUSALS, "guard"), "{{monitor}} refused by {{guard}}")),
          unit="ops", metric=telemetry.CLIENT_RATE, many=True),
    Panel("accuracy", "Accuracy over time",
          "Share of correct predictions among those with labels, of the three worst replicas.",
          (Query(_worst(telemetry.ACCURACY, lowest=True), _REPLICA),
           Query(_worst(telemetry.REFERENCE_ACCURACY), f"{_REPLICA} baseline")),
          unit="percentunit", top=1.0),
    Panel("anomaly", "Input anomaly",
          "Share of recent rows that at least one detector flagged, of the three worst replicas.",
          (Query(_worst(telemetry.ANOMALY_RATIO), _REPLICA),),
          unit="percentunit", metric=telemetry.ANOMALY_RATIO),
    Panel("drift", "Drift",
          "Kolmogorov-Smirnov distance of the features that drifted from the baseline.",
          (Query(_drifted(), f"{_REPLICA} {{{{feature}}}}"),), top=1.0, many=True),
    Panel("drifted-features", "Drifted features",
          "Number of features whose recent distribution differs from the baseline.",
          (Query(_worst(telemetry.DRIFTED_FEATURES), _REPLICA),),
          metric=telemetry.DRIFTED_FEATURES),
    Panel("detectors", "Anomalous rows by detector",
          "Rows per second above the threshold of each detector.",
          (Query(_rate(telemetry.ANOMALY, "detector"), "{{monitor}} {{detector}}"),), unit="ops"),
    Panel("extraction", "Model extraction",
          "Highest extraction score of a client, as a share of the calibrated threshold.",
          (Query(_worst(telemetry.EXTRACTION), _REPLICA),), metric=telemetry.EXTRACTION),
    Panel("dropped", "Dropped observations",
          "Calls per second that were not monitored. Every value above zero is a blind spot.",
          (Query(_rate(telemetry.DROPPED), "{{monitor}} dropped"),
           Query(_rate(telemetry.FAILURES), "{{monitor}} monitoring failures")),
          unit="ops", metric=telemetry.DROPPED),
    Panel("duration", "Duration of calls",
          "Median, 95th and 99th percentile of a call's duration in the slowest replica, in "
          "seconds.",
          tuple(Query(_quantile(share, telemetry.DURATION),
                      f"{{{{monitor}}}} p{100 * share:g}") for share in (0.5, 0.95, 0.99)),
          unit="s"),
    Panel("classes", "Predicted classes",
          "Predictions per second by class. A class that replaces the others may be an attack.",
          (Query(_rate(telemetry.CLASSES, "class"), "{{monitor}} {{class}}"),), unit="ops",
          many=True),
    Panel("alerts", "Alerts",
          "Alerts that began to fire in the last hour, by rule and severity.",
          (Query("sum by (monitor, rule, severity) "
                 f"(increase({_now(telemetry.ALERTS)}[1h]))",
                 "{{monitor}} {{rule}} ({{severity}})"),), many=True),
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
            "legend": _TABLE if panel.many else _LIST,
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
