"""Every default rule, judged by Prometheus' own engine on made-up series."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, AlertRule, alert_name
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.reports import alert_rules
from mlsecops.reports.grafana import PANELS
from tests.conftest import program

REPLICAS = {"bad": (-1, 1, -1), "good": (-1, -1, -1)}
"""Monitor → on which side of the threshold each of its replicas is."""


def series(rule: AlertRule, *, limit: float = 0.95) -> list[dict[str, str]]:
    """Two monitors of three replicas, of which one replica of one monitor breaks the rule.

    A gauge that has a limit of chance gets that one.
    """
    metric = telemetry.metric(rule.metric)
    step = 0.05 if rule.comparison == ">" else -0.05
    own = "".join(f',{name}="x"' for name in metric.labels[1:])
    made = []
    for name, sides in REPLICAS.items():
        for replica, side in enumerate(sides):
            at = f'{{monitor="{name}",instance="{replica}"'
            if metric.kind == "counter":
                values = f"0+{rule.threshold + 1 if side > 0 else 0:g}x80"
            else:
                values = f"{rule.threshold + side * step:g}x80"
            made.append({"series": f"{metric.prometheus}{at}{own}}}", "values": values})
            if rule.relative_to is not None:
                reference = telemetry.metric(rule.relative_to).prometheus
                made.append({"series": f"{reference}{at}}}", "values": "1x80"})
            if rule.metric in telemetry.LIMITS:
                chance = telemetry.LIMITS[rule.metric].prometheus
                made.append({"series": f"{chance}{at}}}", "values": f"{limit:g}x80"})
    return made


def expected(rule: AlertRule) -> dict[str, Any]:
    labels = {"severity": rule.severity.label, "rule": rule.id, "atlas": rule.atlas}
    metric = telemetry.metric(rule.metric)
    own = dict.fromkeys(metric.labels[1:] if metric.kind == "gauge" else (), "x")
    pairs = {
        "alertname": alert_name(rule.id), "alertstate": "firing", "monitor": "bad", **own, **labels,
        **rule.labels,
    }  # fmt: skip
    text = ", ".join(f'{key}="{value}"' for key, value in pairs.items() if value is not None)
    return {
        "expr": f'ALERTS{{alertname="{alert_name(rule.id)}"}}',
        "eval_time": "9m",
        "exp_samples": [{"labels": f"ALERTS{{{text}}}", "value": 1}],
    }


def judged(
    folder: Path,
    tests: list[dict[str, Any]],
    rules: Sequence[AlertRule] = DEFAULT_RULES,
    keep: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    (folder / "alerts.yml").write_text(alert_rules(rules, keep=keep))
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


def test_what_chance_explains_does_not_fire(tmp_path: Path) -> None:
    (rule,) = (each for each in DEFAULT_RULES if each.metric in telemetry.LIMITS)
    silent = {**expected(rule), "exp_samples": []}
    lower = series(rule, limit=0.5)
    done = judged(tmp_path, [
        {"interval": "15s", "input_series": lower, "promql_expr_test": [silent]},
    ])  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


OWN = (
    AlertRule(
        id="far-feature", metric=telemetry.DRIFT.name, comparison=">", threshold=0.3,
        severity=Severity.LOW, message="m", labels={"team": "fraud"},
    ),
    AlertRule(
        id="too-few-calls", metric=telemetry.CALLS.name, comparison="<", threshold=5, window=60,
        severity=Severity.LOW, message="m",
    ),
)  # fmt: skip


def test_own_rules_keep_their_labels_and_look_for_the_worst_replica(tmp_path: Path) -> None:
    far, few = OWN
    calls = telemetry.CALLS.prometheus
    counted = [
        {"series": f'{calls}{{monitor="{name}",instance="{place}",outcome="ok"}}', "values": each}
        for name, values in (("bad", ("0+9x80", "0+1x80")), ("good", ("0+9x80", "0+9x80")))
        for place, each in enumerate(values)
    ]
    tests = [
        {"interval": "15s", "input_series": series(far), "promql_expr_test": [expected(far)]},
        {"interval": "15s", "input_series": counted, "promql_expr_test": [expected(few)]},
    ]
    done = judged(tmp_path, tests, OWN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_with_one_monitor_name_keep_the_label_that_distinguishes_them(
    tmp_path: Path,
) -> None:
    rule = DEFAULT_RULES[0]
    metric, reference = (
        telemetry.metric(name or "").prometheus for name in (rule.metric, rule.relative_to)
    )
    values = [
        {
            "series": f'{name}{{monitor="m",namespace="{space}",pod="{pod}"}}',
            "values": f"{value}x40",
        }
        for space, pod, value in (("prod", 1, 0.9), ("staging", 1, 0.9), ("staging", 2, 0.2))
        for name, value in ((metric, value), (reference, 0.9))
    ]
    check = {
        "expr": f'count by (namespace) (ALERTS{{alertname="{alert_name(rule.id)}"}})',
        "eval_time": "9m",
        "exp_samples": [{"labels": '{namespace="staging"}', "value": 1}],
    }
    test = {"interval": "15s", "input_series": values, "promql_expr_test": [check]}
    done = judged(tmp_path, [test], [rule], keep=["namespace"])
    assert done.returncode == 0, done.stdout + done.stderr
    for wrong in ("namespace", ["a-b"], ["monitor"], [3]):
        with pytest.raises(UsageError, match="keep"):
            alert_rules(keep=wrong)  # type: ignore[arg-type] # wrong on purpose


def test_alert_is_pending_first_and_outlasts_a_gap_of_its_cooldown(tmp_path: Path) -> None:
    rule = dataclasses.replace(DEFAULT_RULES[1], pending=60, cooldown=120)
    name = telemetry.metric(rule.metric).prometheus
    # Broken from minute 1 to 4, then well.
    values = [{"series": f'{name}{{monitor="m"}}', "values": "0x3 1x11 0x40"}]
    at = {"1m45s": [], "2m15s": [1], "5m30s": [1], "6m15s": []}
    firing = f'ALERTS{{alertname="{alert_name(rule.id)}",alertstate="firing"}}'
    tests = [
        {
            "interval": "15s",
            "input_series": values,
            "promql_expr_test": [
                {
                    "expr": f"count({firing})",
                    "eval_time": time,
                    "exp_samples": [{"labels": "{}", "value": value} for value in expected],
                }
                for time, expected in at.items()
            ],
        }
    ]
    done = judged(tmp_path, tests, [rule])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_does_not_fire_would_be_noticed(tmp_path: Path) -> None:
    rule = DEFAULT_RULES[0]
    quiet = [each for each in series(rule) if 'instance="1"' not in each["series"]]
    test = {"interval": "15s", "input_series": quiet, "promql_expr_test": [expected(rule)]}
    assert judged(tmp_path, [test]).returncode != 0


def test_panel_of_drift_shows_the_features_that_drifted_and_says_so_if_none_did(
    tmp_path: Path,
) -> None:
    (drift,) = (panel for panel in PANELS if panel.id == "drift")
    (query,) = (each.expression.replace("$monitor", ".+") for each in drift.queries)
    distance, drifted = telemetry.DRIFT.prometheus, telemetry.DRIFTED.prometheus
    values = [
        {"series": f'{distance}{{{at},statistic="{statistic}"}}', "values": f"{value}x40"}
        for at, ks in (
            ('monitor="m",instance="a",feature="x"', 0.4),
            ('monitor="m",instance="a",feature="y"', 0.6),
            ('monitor="m",instance="b",feature="x"', 0.1),
        )
        for statistic, value in (("ks", ks), ("psi", 9))
    ]
    values += [
        {"series": f'{drifted}{{monitor="m",instance="a",feature="x"}}', "values": "1x40"},
        {"series": f'{drifted}{{monitor="m",instance="a",feature="y"}}', "values": "0x40"},
        {"series": f'{drifted}{{monitor="m",instance="b",feature="x"}}', "values": "0x40"},
        *(
            {"series": f'{telemetry.CALLS.prometheus}{{monitor="{name}"}}', "values": "0x40"}
            for name in ("m", "quiet")
        ),
    ]
    test = {
        "interval": "15s",
        "input_series": values,
        "promql_expr_test": [
            {
                "expr": f"count by (monitor, feature) ({query})",  # NaN equals nothing
                "eval_time": "5m",
                "exp_samples": [
                    {"labels": '{monitor="m",feature="x"}', "value": 1},
                    {"labels": '{monitor="quiet"}', "value": 1},
                ],
            }
        ],
    }
    done = judged(tmp_path, [test])
    assert done.returncode == 0, done.stdout + done.stderr
