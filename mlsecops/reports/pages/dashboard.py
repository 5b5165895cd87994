"""Monitoring dashboard as an HTML page, without Grafana.

snapshots (`MonitorState.to_dict`), oldest first → panels and alerts → HTML

A missing value is shown as missing, never as zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule
from mlsecops.reports.grafana import PANELS, grafana_dashboard
from mlsecops.reports.plain_values import well_formed
from mlsecops.reports.prometheus_rules import alert_rules
from mlsecops.reports.redaction import shown
from mlsecops.reports.rendering.charts import BROAD, NARROW, Mark, Text, bar_chart, line_chart
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import (
    NONE,
    Tone,
    badge,
    broad_or_narrow,
    code,
    facts,
    page,
    section,
    table,
    verdict,
)

Snapshot: TypeAlias = Mapping[str, Any]

SEVERITY_TONES: Final[dict[str, Tone]] = {
    "critical": "bad",
    "high": "bad",
    "medium": "warn",
    "low": "info",
    "info": "none",
}
_METRICS: Final = {
    "confidence": "mlsecops.prediction.confidence",
    "accuracy": "mlsecops.model.accuracy",
    "anomaly": "mlsecops.input.anomaly.ratio",
}
_TITLES: Final = {panel.id: panel.title for panel in PANELS}
_ABOUT: Final = {
    "confidence": "Mean of the highest class probability. Red: the alert rule fired.",
    "query-rate": "Rows per second in the last minute in which the client was active. Red: the "
    "client is named in an alert.",
    "accuracy": "Share of correct predictions among those with labels. Red: the alert rule fired.",
    "anomaly": "Share of recent rows flagged by at least one detector. Red: the alert rule fired.",
    "detectors": "Rows above the threshold of each detector, in total.",
    "drift": "Kolmogorov-Smirnov distance of recent inputs from the baseline. Red: drifted.",
    "dropped": "Calls, and those processed, dropped (not monitored) or failed in monitoring.",
}
_SPREAD: Final = "Distribution of confidence"
_MOST_BARS: Final = 8  # clients or features; chosen: one panel's height
_MOST_ALERTS: Final = 50  # rows; chosen: the newest alerts, on about two screens


@checked
def dashboard_page(
    snapshots: Sequence[Snapshot],
    *,
    name: str,
    digest: str | None = None,
    labels: Sequence[str] = (),
    references: Mapping[str, float] | None = None,
) -> str:
    """The page of a monitor.

    Args:
        snapshots: Plain values of the monitor's state, oldest first, with the fields of
            `MonitorState` and optionally `anomaly`, the share of anomalous rows.
        name: Name of the monitor.
        digest: `"sha256:<hex>"` of the model.
        labels: Label of each snapshot below the axis; by default its number.
        references: Panel (`"confidence"`, `"accuracy"`) → value of the baseline.

    Raises:
        UsageError: A snapshot is of another form.
    """
    with well_formed("snapshots", "MonitorState.to_dict()"):
        return _page(snapshots, name, digest=digest, labels=labels, references=references)


def _page(
    snapshots: Sequence[Snapshot],
    name: str,
    *,
    digest: str | None,
    labels: Sequence[str],
    references: Mapping[str, float] | None,
) -> str:
    names = [*labels, *(f"#{index + 1}" for index in range(len(labels), len(snapshots)))]
    last = snapshots[-1] if snapshots else {}
    known = dict(references or {})
    panels = [
        _line("confidence", snapshots, names, known),
        _confidences(last),
        _clients(last),
        _line("accuracy", snapshots, names, known),
        _line("anomaly", snapshots, names, known),
        _detectors(last),
        _drift(last),
        _observations(last),
    ]
    return page(
        f"Monitor {name}",
        _conclusion(last),
        tag("div", panels, class_="grid wide"),
        _alerts(last),
        kicker="mlsecops · monitoring",
        lead=f"{len(snapshots)} snapshot{'' if len(snapshots) == 1 else 's'} of "
        f"{_processes(last)}. dashboard.json has the same panels for several replicas, "
        "alerts.yml the alert rules.",
        facts=_counts(last, digest),
    )


@checked
def dashboard_files(
    snapshots: Sequence[Snapshot] = (),
    *,
    name: str,
    digest: str | None = None,
    labels: Sequence[str] = (),
    references: Mapping[str, float] | None = None,
    rules: Iterable[AlertRule] = DEFAULT_RULES,
    window: str | None = None,
) -> dict[str, str]:
    """The deliverable: file name → text of `dashboard.json`, `dashboard.html`, `alerts.yml`.

    Snapshots, name, digest, labels and references are those of `dashboard_page`; `window` is the
    time window of counters in `alerts.yml` (`"15s"`).

    Raises:
        UsageError: The window is not a duration, or a snapshot is of another form.
    """
    rules = tuple(rules)
    drawn = dashboard_page(
        snapshots, name=name, digest=digest, labels=labels, references=references
    )
    return {
        "dashboard.json": json.dumps(grafana_dashboard(rules=rules), indent=2) + "\n",
        "dashboard.html": drawn,
        "alerts.yml": alert_rules(rules, window=window),
    }


def _processes(last: Snapshot) -> str:
    count = last.get("processes")
    return f"{count} processes" if isinstance(count, int) and count > 1 else "one process"


def _counts(last: Snapshot, digest: str | None) -> Markup:
    return facts(
        *((("Model digest", code(digest)),) if digest else ()),
        ("Calls", _count(last.get("calls"))),
        ("Clients", _count(len(_mapping(last.get("clients"))))),
        ("Dropped", _count(last.get("dropped"))),
        ("Monitoring failures", _count(last.get("failures"))),
    )


def _conclusion(last: Snapshot) -> Markup:
    alerts = [each for each in _listed(last.get("alerts")) if each.get("state") != "resolved"]
    severities = {str(alert.get("severity")) for alert in alerts}
    worst = next((each for each in SEVERITY_TONES if each in severities), None)
    if worst is None:
        sentence = "No alert rule fired on the monitored traffic."
        return verdict("No alerts", tag("p", sentence), word="quiet", tone="good")
    rules = sorted({shown(alert.get("rule")) for alert in alerts})
    title = f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'}"
    sentence = f"Rules that fired: {', '.join(rules)}."
    return verdict(title, tag("p", sentence), word=worst, tone=SEVERITY_TONES[worst])


def _panel(id_: str, *body: Child) -> Markup:
    return section(_TITLES[id_], tag("p", _ABOUT[id_], class_="note"), *body)


def _missing(what: str) -> Markup:
    return tag("p", badge("no reading", "none"), f" {what}", class_="note")


def _line(
    id_: str, snapshots: Sequence[Snapshot], names: Sequence[str], references: Mapping[str, float]
) -> Markup:
    fired = {rule.id for rule in DEFAULT_RULES if rule.metric == _METRICS[id_]}
    marks = [
        Mark(label=name, value=float(value), tone=_alarmed(snapshot, fired))
        for name, snapshot in zip(names, snapshots, strict=True)
        if isinstance(value := snapshot.get(id_), (int, float))
    ]
    if not marks:
        return _panel(id_, _missing("The monitor has no value yet."))
    reference = ("baseline", references[id_]) if id_ in references else None
    title = _TITLES[id_]
    drawn = (
        line_chart(title, marks, text=_percent, top=1.0, reference=reference, room=room)
        for room in (BROAD, NARROW)
    )
    return _panel(id_, broad_or_narrow(*drawn))


def _bars(title: str, marks: Sequence[Mark], *, text: Text, top: float | None = None) -> Child:
    drawn = (bar_chart(title, marks, text=text, top=top, room=room) for room in (BROAD, NARROW))
    return broad_or_narrow(*drawn)


def _alarmed(snapshot: Snapshot, rules: set[str]) -> Tone:
    fired = {str(alert.get("rule")) for alert in _listed(snapshot.get("alerts"))}
    return "bad" if fired & rules else "info"


def _clients(last: Snapshot) -> Markup:
    named = [alert.get("client") for alert in _listed(last.get("alerts"))]
    suspects = {str(client) for client in named if client is not None}
    clients = _mapping(last.get("clients"))
    ranked = sorted(clients.items(), key=lambda item: (-_rate(item[1]), str(item[0])))
    marks = [
        Mark(label=shown(name), value=_rate(state), tone="bad" if str(name) in suspects else "info")
        for name, state in ranked[:_MOST_BARS]
    ]
    if not marks:
        return _panel("query-rate", _missing("No client sent a request."))
    more = len(ranked) - len(marks)
    rest = tag("p", f"and {more} more clients", class_="note") if more else None
    return _panel("query-rate", _bars("Query rate by client", marks, text=_per_second), rest)


def _confidences(last: Snapshot) -> Markup:
    counts = {each: float(count) for each, count in _mapping(last.get("confidences")).items()}
    total = sum(counts.values())
    if not total:
        return section(_SPREAD, _missing("No prediction has probabilities."))
    bounds = list(counts)
    first = next(place for place, each in enumerate(bounds) if counts[each])
    marks = [
        Mark(label=_range(bounds, place), value=counts[bounds[place]] / total)
        for place in range(first, len(bounds))
        if bounds[place] != "+Inf" or counts[bounds[place]]
    ]
    about = tag("p", "Share of all predictions by confidence.", class_="note")
    return section(_SPREAD, about, _bars(_SPREAD, marks, text=_percent))


def _range(bounds: Sequence[str], place: int) -> str:
    return f"{shown(bounds[place - 1]) if place else '0'} to {shown(bounds[place])}"


def _detectors(last: Snapshot) -> Markup:
    counts = _mapping(last.get("anomalies"))
    if not counts:
        return _panel("detectors", _missing("No rows were compared with a baseline."))
    marks = [Mark(label=shown(each), value=float(count)) for each, count in counts.items()]
    return _panel("detectors", _bars(_TITLES["detectors"], marks, text=_count))


def _rate(state: Any) -> float:
    value = state.get("rate") if isinstance(state, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else 0.0


def _drift(last: Snapshot) -> Markup:
    features = _mapping(_mapping(last.get("drift")).get("features"))
    ranked = sorted(features.items(), key=lambda item: (-float(item[1]["ks"]), str(item[0])))
    marks = [
        Mark(label=shown(name), value=float(each["ks"]), tone="bad" if each["drifted"] else "info")
        for name, each in ranked[:_MOST_BARS]
    ]
    if not marks:
        return _panel("drift", _missing("No rows were compared with a baseline."))
    drifted = sum(bool(each["drifted"]) for each in features.values())
    words = f"{drifted} of {len(features)} features drifted."
    return _panel(
        "drift",
        _bars("Drift by feature", marks, text=lambda value: f"{value:.3f}", top=1.0),
        tag("p", words, class_="note"),
    )


def _observations(last: Snapshot) -> Markup:
    fields = ("calls", "processed", "dropped", "failures")
    bad = ("dropped", "failures")
    marks = [
        Mark(
            label=field,
            value=float(value),
            tone="bad" if field in bad and value else "none" if field in bad else "info",
        )
        for field in fields
        if isinstance(value := last.get(field), (int, float))
    ]
    if not marks:
        return _panel("dropped", _missing("The monitor reports no calls."))
    return _panel("dropped", _bars("Observed and dropped calls", marks, text=_count))


def _alerts(last: Snapshot) -> Markup:
    alerts = _listed(last.get("alerts"))
    if not alerts:
        return section("Alerts", tag("p", "None.", class_="note"))
    rows: list[list[Child]] = [
        [
            tag("span", str(alert.get("at", ""))[:19].replace("T", "\u00a0"), class_="num"),
            badge(severity := str(alert.get("severity")), SEVERITY_TONES.get(severity, "none")),
            shown(alert.get("rule")),
            shown(alert.get("state", "firing")),
            shown(alert.get("client") or NONE),
            _reading(alert.get("reading")),
            _reading(alert.get("threshold")),
            code(alert["atlas"]) if alert.get("atlas") else NONE,
            shown(alert.get("message"), most=300),
        ]
        for alert in reversed(alerts[-_MOST_ALERTS:])
    ]
    head = ["At (UTC)", "Severity", "Rule", "State", "Client", "Reading", "Threshold", "ATLAS",
            "Message"]  # fmt: skip
    return section("Alerts", table(head, rows, numeric=(5, 6)))


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _percent(value: float) -> str:
    return f"{100 * value:.0f}\u202f%" if value in {0, 0.5, 1} else f"{100 * value:.1f}\u202f%"


def _per_second(value: float) -> str:
    return f"{value:,.1f} /s"


def _count(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else NONE


def _reading(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else NONE
