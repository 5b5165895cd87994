from __future__ import annotations

import dataclasses
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest

from mlsecops._bounded.mapping import BoundedMap
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import (
    DEFAULT_RULES,
    METRICS,
    AlertRule,
    ExtractionDetector,
    Reading,
    monitored,
)
from mlsecops.monitoring.alerts.alerting import Alerting
from mlsecops.monitoring.label_matching import LabelMatcher
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.provenance.digest import Digest
from tests.attackers.extraction import uniform_thief
from tests.attackers.monitoring import broken_sink, inverted

DIGEST = Digest.of(b"model")


@pytest.fixture(scope="module")
def detector(digits):  # noqa: ANN001, ANN201 - the fixture's class lives in conftest
    rng = np.random.default_rng(1)
    rows = [digits.known[rng.choice(len(digits.known), 100)] for _ in range(24)]
    clients = [(each, digits.predict(each)) for each in rows]
    return ExtractionDetector.calibrate(digits.baseline, clients, false_positive_rate=0.01)


def serve(digits, name, **options):  # noqa: ANN001, ANN003, ANN201 - as above
    """A served model and the alerts it raises."""
    alerts: list[Alert] = []

    @monitored(
        name,
        baseline=digits.baseline,
        client=lambda _, who: who,
        sinks=[alerts.append],
        digest=DIGEST,
        **options,
    )
    def predict(x, _who):  # noqa: ANN001, ANN202 - as above
        return digits.predict(x)[0]

    return predict, alerts


@pytest.mark.parametrize("seed", range(4))
def test_normal_traffic_of_two_thousand_calls_raises_no_alert(digits, detector, seed) -> None:  # noqa: ANN001 - as above
    predict, alerts = serve(digits, f"normal{seed}", detectors=[detector])
    rng = np.random.default_rng(seed)
    for i in range(2000):
        predict(digits.fresh[rng.integers(len(digits.fresh))], f"s{seed}c{i % 9}")
    assert predict.monitor.flush(20)
    state = predict.monitor.snapshot()
    assert (alerts, state.processed, state.failures) == ([], 2000, 0)
    assert state.profile.count == 2000
    predict.monitor.close()


def test_drifted_inputs_raise_drift_confidence_and_anomaly_with_the_digest(digits) -> None:  # noqa: ANN001 - as above
    predict, alerts = serve(digits, "drifted")
    for row in inverted(digits.fresh[:200]):
        predict(row, "c")
    assert predict.monitor.flush(10)
    assert {alert.rule for alert in alerts} == {
        "drift",
        "confidence-low",
        "prediction-drift",
        "input-anomaly",
    }
    assert {alert.digest for alert in alerts} == {str(DIGEST)}
    assert all(re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", alert.atlas or "") for alert in alerts)
    assert all(alert.at.tzinfo is not None and alert.window for alert in alerts)
    state = predict.monitor.snapshot()
    assert len(state.drift.drifted) > 10
    assert state.to_dict()["alerts"][0]["monitor"] == "drifted"
    predict.monitor.close()


def test_thief_among_honest_clients_raises_extraction_for_it_alone(digits, detector) -> None:  # noqa: ANN001 - as above
    predict, alerts = serve(digits, "stolen", detectors=[detector])
    rng = np.random.default_rng(5)
    for query in uniform_thief(5, queries=150):
        predict(query, "thief")
        for honest in ("anna", "ben"):
            predict(digits.fresh[rng.integers(len(digits.fresh))], honest)
    assert predict.monitor.flush(10)
    assert {alert.client for alert in alerts if alert.rule == "extraction"} == {"thief"}
    predict.monitor.close()


def test_extraction_finds_uniform_thieves_and_spares_benign_kinds(digits, detector) -> None:  # noqa: ANN001 - as above
    rng = np.random.default_rng(9)
    for seed in range(10):
        queries = uniform_thief(seed, queries=150)
        assert detector.score(queries, digits.predict(queries)).max() > 1
    few = digits.fresh[np.isin(digits.labels, [3, 8])]
    for _ in range(10):
        for rows in (
            digits.fresh[rng.choice(len(digits.fresh), 150)],
            few[rng.choice(len(few), 150)],
        ):
            assert detector.score(rows, digits.predict(rows)).max() < 1
        scans = digits.fresh[rng.choice(len(digits.fresh), 5)].repeat(30, axis=0)
        assert detector.score(scans, digits.predict(scans)).max() < 1


def test_extraction_needs_enough_clients_and_a_rate(digits) -> None:  # noqa: ANN001 - as above
    client = (digits.known[:20], digits.predict(digits.known[:20]))
    with pytest.raises(UsageError, match="at least 4"):
        ExtractionDetector.calibrate(digits.baseline, [client] * 3, false_positive_rate=0.01)
    with pytest.raises(UsageError, match="false_positive_rate"):
        ExtractionDetector.calibrate(digits.baseline, [client] * 8, false_positive_rate=0)


def test_clients_are_forgotten_by_number_and_by_silence() -> None:
    clients: BoundedMap[int, list[int]] = BoundedMap(list, capacity=3, ttl=10)
    for i in range(5):
        clients.use(i, float(i))
    assert list(clients) == [2, 3, 4]
    clients.use(9, 100.0)
    assert list(clients) == [9]


def test_burst_of_one_client_raises_query_rate_for_it_alone(digits) -> None:  # noqa: ANN001 - as above
    predict, alerts = serve(digits, "burst", clock=lambda: 1000.0)
    rows = digits.fresh[:500]
    batch = monitored(
        "burst-batches", client=lambda _, who: who, sinks=[alerts.append], clock=lambda: 1000.0
    )(lambda x, _who: digits.predict(x))
    for _ in range(13):
        batch(rows, "bot")
        batch(rows[:10], "human")
    assert batch.monitor.flush(10)
    assert [(alert.rule, alert.client) for alert in alerts] == [("query-rate", "bot")]
    batch.monitor.close()
    predict.monitor.close()


def test_sudden_drop_of_accuracy_is_found_and_steady_accuracy_is_not(digits) -> None:  # noqa: ANN001 - as above
    alerts: list[Alert] = []
    predict = monitored(
        "late", baseline=digits.baseline, request_id=lambda _, i: i, sinks=[alerts.append]
    )(lambda x, _i: digits.predict(x)[0])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.fresh))
    for i in order:
        predict(digits.fresh[i], int(i))
        predict.monitor.record_label(int(i), int(digits.labels[i]))
    assert predict.monitor.flush(10)
    assert alerts == []
    assert predict.monitor.snapshot().accuracy > 0.85
    for i in order[:150]:
        predict(digits.fresh[i], f"w{i}")
        predict.monitor.record_label(f"w{i}", int(9 - digits.labels[i]))
    assert predict.monitor.flush(10)
    assert [alert.rule for alert in alerts] == ["accuracy-drop"]
    predict.monitor.close()


def test_few_wrong_answers_are_no_drop_yet() -> None:
    performance = LabelMatcher(0.95)
    for i in range(32):
        performance.predicted(str(i), np.array([int(i % 8 > 0)]), 0.0)
        performance.labelled(str(i), 1, 0.0)
    assert performance.accuracy == 0.875
    (reading,) = performance.readings()
    assert reading.chance is not None
    assert reading.value > reading.chance
    (rule,) = (each for each in DEFAULT_RULES if each.id == "accuracy-drop")
    relative = dataclasses.replace(rule, threshold=0.99)
    assert not relative.breached(reading)
    assert relative.breached(dataclasses.replace(reading, chance=None))


def test_reference_accuracy_is_that_of_the_first_labels_without_a_baseline() -> None:
    performance = LabelMatcher(None)
    right, wrong = np.array([1]), np.array([0])
    for i in range(200):
        performance.predicted(str(i), right, 0.0)
        performance.labelled(str(i), 1, 0.0)
    for i in range(60):
        performance.predicted(f"w{i}", wrong, 0.0)
        performance.labelled(f"w{i}", 1, 0.0)
    (reading,) = performance.readings()
    assert (reading.reference, reading.value) == (1.0, 0.7)


def alerting(rules, sinks, now):  # noqa: ANN001, ANN201 - a shorthand of this file
    failures: list[int] = []
    engine = Alerting(
        rules,
        sinks,
        monitor="m",
        digest=None,
        clock=lambda: now[0],
        failed=lambda: failures.append(1),
    )
    return engine, failures


RULE = AlertRule(
    id="own",
    metric=telemetry.CLIENT_RATE.name,
    comparison=">",
    threshold=1,
    severity=Severity.LOW,
    message="m",
    cooldown=60,
)


def read(value, client=None):  # noqa: ANN001, ANN201 - a shorthand of this file
    return [Reading(metric=telemetry.CLIENT_RATE, value=value, window="w", client=client)]


def test_alert_fires_once_however_long_it_lasts_and_resolves_after_its_cooldown() -> None:
    now, told = [0.0], []
    engine, _ = alerting([RULE], [told.append], now)
    # It lasts, and its reading crosses the threshold back and forth: no flapping.
    for now[0], value in ((0, 2), (30, 0), (59, 2), (110, 2), (140, 0), (150, 2), (160, 0)):
        engine.consider(read(value))
        engine.tick()
    assert [(each.state, each.at.timestamp()) for each in told] == [("firing", 0)]
    for now[0] in (209.0, 210.0, 400.0):
        engine.tick()
    assert [(each.state, each.at.timestamp()) for each in told] == [
        ("firing", 0),
        ("resolved", 210),
    ]
    now[0] = 500.0
    engine.consider(read(2))
    assert [each.state for each in told] == ["firing", "resolved", "firing"]
    assert len({each.id for each in told}) == 1
    assert told[1].started_at == told[0].at


def test_alert_without_a_newer_reading_lasts_and_that_of_a_silent_client_ends() -> None:
    now, told = [0.0], []
    engine, _ = alerting([RULE], [told.append], now)
    engine.consider([*read(2), *read(2, "bot")])
    now[0] = 1000.0
    engine.tick()
    assert [(each.client, each.state) for each in told] == [
        (None, "firing"), ("bot", "firing"), ("bot", "resolved"),
    ]  # fmt: skip
    engine.tick(gone=[telemetry.CLIENT_RATE.name])
    assert (told[-1].client, told[-1].state, engine.firing) == (None, "resolved", False)


def test_reading_that_is_no_number_clears_no_alert() -> None:
    """What was not measured is not fine: a value of NaN, or a reference of NaN."""
    now, told = [0.0], []
    relative = next(rule for rule in DEFAULT_RULES if rule.id == "confidence-low")
    engine, _ = alerting([RULE, relative], [told.append], now)

    def take(rate: float, confidence: float, reference: float) -> None:
        known = Reading(
            metric=telemetry.CONFIDENCE, value=confidence, window="w", reference=reference
        )
        engine.consider([*read(rate), known])
        engine.tick()

    take(2, 0.5, 1.0)
    assert [each.rule for each in told] == ["own", "confidence-low"]
    for now[0] in (30.0, 500.0, 1000.0):
        take(math.nan, 1.0, math.nan)
        take(math.nan, math.nan, 1.0)
    assert len(told) == 2
    take(0, 1.0, 1.0)
    now[0] = 2000.0
    engine.tick()
    assert [each.state for each in told[2:]] == ["resolved", "resolved"]


def test_pending_rule_fires_only_if_the_breach_lasts() -> None:
    now, told = [0.0], []
    engine, _ = alerting([dataclasses.replace(RULE, pending=30)], [told.append], now)
    for now[0], value in ((0, 2), (20, 0), (40, 2), (69, 2)):
        engine.consider(read(value))
    assert told == []
    now[0] = 70.0
    engine.consider(read(2))
    assert [each.state for each in told] == ["firing"]


def test_id_is_that_of_the_rule_its_client_and_the_model_in_every_process() -> None:
    def fired(client: str, **rule: Any) -> list[Alert]:
        told: list[Alert] = []
        engine, _ = alerting([dataclasses.replace(RULE, **rule)], [told.append], [0.0])
        engine.consider(read(2, client))
        return told

    ((a,), (again,), (b,)) = (fired(client) for client in ("a", "a", "b"))
    assert a.id == again.id != b.id
    assert fired("a", per="monitor")[0].id == fired("b", per="monitor")[0].id
    assert fired("a", labels={"team": "fraud"})[0].labels == {"team": "fraud"}


def test_sink_that_renews_hears_again_before_an_alert_would_end() -> None:
    class Renewing(list[Alert]):
        renews = True

        def __call__(self, alert: Alert) -> None:
            self.append(alert)

    now, once, renewed = [0.0], [], Renewing()
    engine, _ = alerting([RULE], [once.append, renewed], now)
    engine.consider(read(2))
    for now[0] in range(0, 301, 10):
        engine.tick()
    assert len(once) == 1
    assert len(renewed) > 5
    for earlier, later in itertools.pairwise(renewed):
        assert later.at < earlier.ends_at


def test_sink_that_fails_is_counted_and_does_not_silence_the_others() -> None:
    told: list[Alert] = []
    engine, failures = alerting([RULE], [broken_sink, told.append], [0.0])
    engine.consider([Reading(metric=telemetry.CLIENT_RATE, value=2, window="w")])
    assert (len(told), len(failures)) == (1, 1)


def test_own_rules_replace_the_defaults(digits) -> None:  # noqa: ANN001 - as above
    predict, alerts = serve(digits, "silent", rules=[])
    for row in inverted(digits.fresh[:150]):
        predict(row, "c")
    assert predict.monitor.flush(10)
    assert alerts == []
    predict.monitor.close()


def test_rules_read_only_metrics_of_the_table_and_become_prometheus_expressions() -> None:
    names = {metric.prometheus for metric in METRICS}
    for rule in DEFAULT_RULES:
        found = re.findall(r"mlsecops_\w+", rule.expression("15s"))
        assert found
        assert set(found) <= names
    with pytest.raises(UsageError, match="metric of METRICS"):
        AlertRule(
            id="x", metric="nope", comparison=">", threshold=1, severity=Severity.LOW, message="m"
        )
