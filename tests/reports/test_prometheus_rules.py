"""Every default rule, judged by Prometheus' own engine on made-up series."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule, alert_name
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.reports import alert_rules
from tests.conftest import program


def series(rule: AlertRule) -> list[dict[str, str]]:
    """Two monitors, of which one breaks the rule."""
    metric = telemetry.metric(rule.metric)
    step = 0.05 if rule.comparison == ">" else -0.05
    made = []
    for name, sign in (("bad", 1), ("good", -1)):
        labels = f'{{monitor="{name}"}}'
        if metric.kind == "counter":
            growth = rule.threshold + 1 if name == "bad" else 0
            values = f"0+{growth:g}x40"
        else:
            values = f"{rule.threshold + sign * step:g}x40"
        made.append({"series": metric.prometheus + labels, "values": values})
        if rule.relative_to is not None:
            reference = telemetry.metric(rule.relative_to).prometheus
            made.append({"series": reference + labels, "values": "1x40"})
    return made


def expected(rule: AlertRule) -> dict[str, Any]:
    labels = {"severity": rule.severity.label, "rule": rule.id, "atlas": rule.atlas}
    pairs = {"alertname": alert_name(rule.id), "alertstate": "firing", "monitor": "bad", **labels}
    text = ", ".join(f'{key}="{value}"' for key, value in pairs.items() if value is not None)
    return {
        "expr": f'ALERTS{{alertname="{alert_name(rule.id)}"}}',
        "eval_time": "9m",
        "exp_samples": [{"labels": f"ALERTS{{{text}}}", "value": 1}],
    }


def judged(folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "alerts.yml").write_text(alert_rules())
    suite = {"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": tests}
    (folder / "tests.yml").write_text(json.dumps(suite))
    command = [program("promtool"), "test", "rules", str(folder / "tests.yml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_rule_fires_on_the_monitor_that_breaks_it_and_on_no_other(tmp_path: Path) -> None:
    tests = [
        {
            "name": rule.id,
            "interval": "15s",
            "input_series": series(rule),
            "promql_expr_test": [expected(rule)],
        }
        for rule in DEFAULT_RULES
    ]
    done = judged(tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_does_not_fire_would_be_noticed(tmp_path: Path) -> None:
    rule = DEFAULT_RULES[0]
    quiet = [each for each in series(rule) if "bad" not in each["series"]]
    test = {"interval": "15s", "input_series": quiet, "promql_expr_test": [expected(rule)]}
    assert judged(tmp_path, [test]).returncode != 0
