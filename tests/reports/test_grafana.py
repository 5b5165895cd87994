from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.monitoring import Baseline, monitored
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule
from mlsecops.monitoring.telemetry import metrics
from mlsecops.reports import alert_rules, dashboard_files, grafana_dashboard
from tests.attackers.reports import MARKUP
from tests.conftest import program

NAMES = {
    metric.prometheus + ("_bucket" if metric.kind == "histogram" else "")
    for metric in metrics.METRICS
}


def expressions() -> list[str]:
    panels = grafana_dashboard()["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_panels_that_operators_need_are_there() -> None:
    titles = " | ".join(panel["title"].lower() for panel in grafana_dashboard()["panels"])
    for title in ("prediction confidence", "query rate", "accuracy", "input anomaly", "drift"):
        assert title in titles
    assert "dropped" in titles


def test_every_metric_in_a_panel_stands_in_the_one_table() -> None:
    used = {name for each in expressions() for name in re.findall(r"\bmlsecops_\w+", each)}
    assert used
    assert used <= NAMES


def test_every_label_in_a_panel_is_an_attribute_of_its_metric_or_names_a_replica() -> None:
    labels = {metric.prometheus.removesuffix("_total"): metric.labels for metric in metrics.METRICS}
    for expression in expressions():
        name = re.findall(r"\bmlsecops_\w+", expression)[0]
        own = labels[re.sub(r"_(bucket|total)$", "", name)]
        for names in re.findall(r"by \(([^)]*)\)", expression):
            assert set(names.split(", ")) <= {*own, "instance", "le"}


def test_panels_take_the_worst_replica_in_their_own_direction_and_tell_replicas_apart() -> None:
    for panel in grafana_dashboard()["panels"]:
        lowest = panel["title"] in {"Prediction confidence", "Accuracy over time"}
        first = panel["targets"][0]
        if "topk" in first["expr"] or "bottomk" in first["expr"]:
            assert first["expr"].startswith("bottomk" if lowest else "topk")
            assert "{{instance}}" in first["legendFormat"]


def test_dashboard_is_one_of_grafanas_own_types_and_nothing_of_it_is_lost() -> None:
    made = grafana_dashboard()
    read = json.loads(json.dumps(Dashboard.from_json(made), cls=JSONEncoder))

    def kept(value: Any, other: Any, where: str) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                if each is not None:
                    assert key in other, f"{where}.{key}"
                    kept(each, other[key], f"{where}.{key}")
        elif isinstance(value, list):
            assert len(value) == len(other), where
            for place, (one, two) in enumerate(zip(value, other, strict=True)):
                kept(one, two, f"{where}[{place}]")
        else:
            assert value == other, where

    kept(made, read, "dashboard")


def test_a_panel_with_a_line_for_each_feature_class_or_rule_lists_the_largest_first() -> None:
    for panel in grafana_dashboard()["panels"]:
        legends = " ".join(target["legendFormat"] for target in panel["targets"])
        many = any(f"{{{{{label}}}}}" in legends for label in ("feature", "class", "rule", "guard"))
        legend = panel["options"]["legend"]
        assert (legend["displayMode"] == "table") == many, panel["title"]
        if many:
            assert (legend["calcs"], legend["sortDesc"]) == (["lastNotNull"], True)


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in grafana_dashboard()["panels"]:
        at = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not covered & cells
        assert at["x"] + at["w"] <= 24
        cells |= covered


def test_rules_are_yaml_with_an_alert_for_each() -> None:
    groups = yaml.safe_load(alert_rules())["groups"]
    rules = groups[0]["rules"]
    assert [rule["labels"]["rule"] for rule in rules] == [rule.id for rule in DEFAULT_RULES]
    assert len(rules) >= 4
    assert rules[0]["labels"]["severity"] == "high"


def test_a_window_is_how_far_counters_look_back() -> None:
    rules = yaml.safe_load(alert_rules(window="15s"))["groups"][0]["rules"]
    dropped = next(rule for rule in rules if rule["labels"]["rule"] == "dropped")
    assert "[15s]" in dropped["expr"]


@pytest.mark.parametrize("window", ["", "15", "-5s", "5s]) or vector(1) #", "0s", "1.5m"])
def test_a_window_that_is_no_duration_is_refused(window: str) -> None:
    with pytest.raises(UsageError, match="window"):
        alert_rules(window=window)


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(alert_rules(window="15s"))
    command = [program("promtool"), "check", "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(DEFAULT_RULES)} rules found" in done.stdout


def test_a_rules_message_is_text_and_no_template(tmp_path: Path) -> None:
    message = f"{MARKUP} {{{{ query `up` }}}} \" : # '"
    rule = AlertRule(
        id="odd",
        metric=metrics.DROPPED.name,
        comparison=">",
        threshold=0,
        severity=Severity.LOW,
        message=message,
    )
    text = alert_rules([rule])
    summary = yaml.safe_load(text)["groups"][0]["rules"][0]["annotations"]["summary"]
    assert summary.replace('{{ "{{" }}', "{{") == message
    assert "{{ query" not in summary
    path = tmp_path / "alerts.yml"
    path.write_text(text)
    command = [program("promtool"), "check", "rules", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_files_are_equal_for_equal_input_and_tell_what_a_monitor_saw() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(200, 3))

    def answer(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.tile([0.9, 0.1], (len(x), 1))

    predict = monitored("digits", baseline=Baseline.fit(rows, answer(rows)))(answer)
    predict(rows[:50])
    monitor: Any = predict.monitor
    assert monitor.flush()
    state = json.loads(json.dumps(monitor.snapshot().to_dict()))
    monitor.close()
    files = dashboard_files([state], name="digits")
    assert set(files) == {"dashboard.json", "dashboard.html", "alerts.yml"}
    assert files == dashboard_files([state], name="digits")
    assert "now 90.0" in files["dashboard.html"]
    assert json.loads(files["dashboard.json"])["uid"] == "mlsecops"
