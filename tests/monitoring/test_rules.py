"""Rules as data, and rules about metrics that no detector reads."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import (
    DEFAULT_RULES,
    AlertRule,
    RateLimit,
    Reading,
    load_rules,
    monitored,
    rule_from_dict,
    rule_to_dict,
)
from mlsecops.monitoring.alerts.alerting import Alerting
from mlsecops.monitoring.telemetry import metrics as telemetry
from tests.attackers.monitoring import flood

REFUSALS = {
    "id": "refusals",
    "metric": "mlsecops.guard.refusals",
    "comparison": ">",
    "threshold": 10,
    "window": 60,
    "cooldown": 60,
    "severity": "medium",
    "message": "A guard refuses many calls.",
    "labels": {"team": "fraud"},
}


def test_default_rules_survive_being_written_as_data() -> None:
    for rule in DEFAULT_RULES:
        assert rule_from_dict(rule_to_dict(rule)) == rule
    (confidence,) = (rule for rule in DEFAULT_RULES if rule.id == "confidence-low")
    assert (confidence.comparison, confidence.threshold) == ("<", 0.9)
    assert confidence.relative_to == telemetry.CONFIDENCE_BASELINE.name


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Not Kebab"},
        {"metric": "mlsecops.nothing"},
        {"comparison": "=="},
        {"threshold": "10"},
        {"threshold": True},
        {"threshold": float("nan")},
        {"window": 0},
        {"cooldown": -1},
        {"pending": -1},
        {"labels": {"severity": "low"}},
        {"labels": {"no-name": "x"}},
        {"labels": {"team": 3}},
        {"labels": "team"},
        {"metric": "mlsecops.inference.duration"},
        {"severity": "terrible"},
        {"per": "planet"},
        {"message": None},
        {"treshold": 3},
    ],
)
def test_rule_that_would_never_fire_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="rule"):
        rule_from_dict({**REFUSALS, **change})


@pytest.mark.parametrize("labels", ["team", ["team"], 7, None])
def test_labels_that_name_nothing_are_refused(labels: Any) -> None:
    with pytest.raises(UsageError, match="labels: expected names and texts"):
        dataclasses.replace(DEFAULT_RULES[0], labels=labels)


def test_rules_are_read_from_toml_and_mistakes_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    plain = {key: value for key, value in REFUSALS.items() if key != "labels"}
    lines = [f"{key} = {value!r}" for key, value in plain.items()]
    lines += ["[rules.labels]", "team = 'fraud'"]
    path.write_text("\n".join(["[[rules]]", *lines]))
    assert load_rules(path) == (rule_from_dict(REFUSALS),)
    for wrong in (
        "rules = 3",
        "rules = ['x']",
        "[[rules]]\nid = 'x'",
        "[[rule]]",
        "]",
        "[[rules]]\n[[more]]",
    ):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=r"rules\.toml"):
            load_rules(path)
    with pytest.raises(UsageError, match="absent"):
        load_rules(tmp_path / "absent.toml")


def test_rule_about_a_counter_compares_its_increase_over_the_window() -> None:
    now, alerts = [1000.0], []
    predict = monitored(
        "refusals",
        guards=[RateLimit(0.001, burst=1)],
        rules=[rule_from_dict(REFUSALS)],
        sinks=[alerts.append],
        clock=lambda: now[0],
    )(lambda x: x)

    def refuse(times: int) -> list[float]:
        alerts.clear()
        flood(predict, times, 1)
        assert predict.monitor.flush(5)
        return [(alert.state, alert.reading) for alert in alerts]

    predict(1)
    assert refuse(6) == []
    now[0] = 1030.0
    assert refuse(5) == [("firing", 11)]  # together more than ten in the last minute
    now[0] = 1060.0
    assert refuse(1) == []
    now[0] = 1300.0
    assert refuse(0) == [("resolved", 12)]  # time alone ends it
    assert refuse(11) == [("firing", 11)]
    predict.monitor.close()


def test_drops_before_the_first_look_are_not_missed() -> None:
    alerts: list[Alert] = []
    predict = monitored("early", capacity=1, sinks=[alerts.append])(lambda x: x)
    predict.monitor._lock.acquire()
    flood(predict, 4, 1)
    predict.monitor._lock.release()
    assert predict.monitor.flush(5)
    assert [(each.rule, each.reading, each.window) for each in alerts] == [
        ("dropped", 3, "last 300 s")
    ]
    predict.monitor.close()


def test_forked_child_compares_its_own_counters_and_not_its_parents() -> None:
    alerts: list[Alert] = []
    now = [0.0]
    predict = monitored("child", capacity=1, sinks=[alerts.append], clock=lambda: now[0])(
        lambda x: x
    )

    def drop(count: int) -> list[float]:
        predict.monitor._lock.acquire()
        flood(predict, count + 1, 1)
        predict.monitor._lock.release()
        assert predict.monitor.flush(5)
        return [each.reading for each in alerts]

    assert drop(100) == [100]
    now[0] = 10.0
    assert drop(1) == [100]  # cooling down
    now[0] = 400.0
    alerts.clear()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if drop(3) == [3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    predict.monitor.close()


def test_rule_about_a_gauge_without_a_detector_fires_too() -> None:
    rule = AlertRule(
        id="clients",
        metric=telemetry.CLIENTS.name,
        comparison=">",
        threshold=5,
        severity=Severity.LOW,
        message="Many clients.",
    )
    alerts: list[Alert] = []
    predict = monitored("crowd", client=str, rules=[rule], sinks=[alerts.append])(lambda x: x)
    for i in range(8):
        predict(i)
    assert predict.monitor.flush(5)
    assert [(each.rule, each.reading) for each in alerts] == [("clients", 8)]
    predict.monitor.close()


def test_rule_per_monitor_tells_once_for_all_its_clients() -> None:
    base = {
        "id": "own",
        "metric": telemetry.CLIENT_RATE.name,
        "comparison": ">",
        "threshold": 1,
        "severity": Severity.LOW,
        "message": "m",
    }
    for per, expected in (("client", ["a", "b"]), ("monitor", ["a"])):
        told: list[Alert] = []
        engine = Alerting(
            [AlertRule(**base, per=per)],  # type: ignore[arg-type] # fields of a rule
            [told.append],
            monitor="m",
            digest=None,
            clock=lambda: 0.0,
            failed=lambda: None,
        )
        engine.consider(
            Reading(metric=telemetry.CLIENT_RATE, value=2, window="w", client=name) for name in "ab"
        )
        assert [each.client for each in told] == expected
    with pytest.raises(UsageError):
        dataclasses.replace(AlertRule(**base), per="x")  # type: ignore[arg-type] # on purpose
