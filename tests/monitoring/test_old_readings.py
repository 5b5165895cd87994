"""Readings that last as long as what they are about: a window of rows, a remembered client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops import monitored
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import DEFAULT_RULES, AlertRule, Baseline, Reading, Window
from mlsecops.monitoring.instruments import collected
from mlsecops.monitoring.service.merge import is_recent, joined
from mlsecops.monitoring.service.state import WindowState, hashed
from mlsecops.monitoring.suspicion import Suspicion
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import COVERAGE, EXTRACTION

RNG = np.random.default_rng(0)


def page(monitor: str) -> dict[str, dict[tuple[str, ...], Any]]:
    return {
        metric.name: own
        for metric, points in collected()
        if (own := {key[1:]: value for key, value in points if key[0] == monitor})
    }


def test_reading_goes_with_the_window_of_its_rows_and_so_does_its_alert() -> None:
    now, told = [0.0], list[Alert]()
    predict = monitored(
        "quiet",
        baseline=Baseline.fit(RNG.normal(size=(2000, 4)), RNG.dirichlet([5, 1], 2000)),
        window=Window(rows=256, seconds=60),
        sinks=[told.append],
        clock=lambda: now[0],
    )(lambda rows: np.full((len(rows), 2), 0.5))
    predict(RNG.normal(3, 1, size=(512, 4)))
    predict.monitor.flush(10)
    here = {metric.name for metric in telemetry.OF_THE_WINDOW}
    assert {"mlsecops.drift.features", "mlsecops.input.anomaly.ratio"} <= here & set(page("quiet"))
    now[0] = 59.0
    assert here & set(page("quiet"))
    now[0] = 86_400.0
    assert here & set(page("quiet")) == set()
    state = predict.monitor.snapshot()
    assert (state.drift, state.confidence, state.anomaly) == (None, None, None)
    firing = {alert.rule for alert in told if alert.state == "firing"}
    assert "drift" in firing
    assert firing == {alert.rule for alert in told if alert.state == "resolved"}
    predict.monitor.close()


def test_gauge_keeps_the_most_suspicious_client_until_it_is_forgotten() -> None:
    series = Series("suspects")
    suspicion = Suspicion(series)

    def score(client: str, value: float, at: float) -> None:
        suspicion.take(0, [Reading(metric=EXTRACTION, value=value, window="w", client=client)], at)

    score("thief", 45.0, 0.0)
    score("honest", 0.1, 10.0)
    assert series.largest(EXTRACTION) == 45
    assert series.largest(COVERAGE) is None
    score("thief", 40.0, 20.0)  # its latest score, not its highest
    assert series.largest(EXTRACTION) == 40
    assert suspicion.shared(20.0)[0] == [hashed("thief"), {EXTRACTION.name: 40.0}, 20.0]
    suspicion.forget(3000.0)
    assert series.largest(EXTRACTION) == 40
    score("honest", 0.2, 3615.0)
    suspicion.forget(3621.0)
    assert series.largest(EXTRACTION) == 0.2
    suspicion.forget(9000.0)
    assert series.points(EXTRACTION) == []


def test_most_suspicious_of_many_clients_is_the_one_a_plain_search_finds() -> None:
    series, rng = Series("many suspects"), np.random.default_rng(0)
    suspicion, latest = Suspicion(series), dict[str, tuple[float, float]]()
    for number in range(3000):
        now, client = 3.0 * number, f"c{rng.integers(900 if number < 2000 else 3)}"
        latest[client] = float(rng.integers(50)), now
        reading = Reading(metric=EXTRACTION, value=latest[client][0], window="w", client=client)
        suspicion.take(0, [reading], now)
        known = [value for value, at in latest.values() if now - at <= 3600]
        assert series.largest(EXTRACTION) == max(known)
    assert len(suspicion._tops[EXTRACTION.name]._heap) < 2 * 900 + 65


def test_readings_of_several_processes_are_joined_by_client_and_by_label() -> None:
    def window(**facts: Any) -> WindowState:
        clients = np.array([client for client, _ in facts.get("busiest", ())], dtype=np.int64)
        return WindowState({"at": 4000.0, **facts}, {"clients": clients})

    ann, bob = hashed("ann"), hashed("bob")
    points = joined(
        [
            window(busiest=[(ann, 60.0), (bob, 1.0)], hits=190, labels=200, reference=0.9),
            window(
                busiest=[(ann, 70.0)],
                hits=5,
                labels=10,
                slide=0.1,
                suspects=[[ann, {EXTRACTION.name: 2.0}, 0.0], [bob, {EXTRACTION.name: 1.5}, 4000]],
            ),
        ],
        4000.0,
    )
    assert points[telemetry.CLIENT_RATE.name] == {(): 130}
    idle = window(busiest=[(ann, 60.0)], at=3940.0)  # its clients' last minute is over
    assert joined([idle], 4000.0)[telemetry.CLIENT_RATE.name] == {}
    assert points[telemetry.CLIENTS.name] == {(): 2}
    assert points[telemetry.ACCURACY.name] == {(): pytest.approx(195 / 210)}
    assert points[telemetry.REFERENCE_ACCURACY.name] == {(): 0.9}
    assert points[telemetry.ACCURACY_SLIDE.name] == {(): 0.1}
    assert points[EXTRACTION.name] == {(): 1.5}  # ann has been silent for more than an hour
    assert joined([window()], 0.0)[telemetry.ACCURACY.name] == {}
    assert is_recent(window(newest=10.0), 70.0, 60.0)
    assert not is_recent(window(newest=10.0), 71.0, 60.0)
    assert not is_recent(window(newest=None), 0.0, 60.0)


def test_a_clock_that_was_set_back_keeps_neither_a_rate_nor_an_alert() -> None:
    now, seen = [10_000.0], []
    rule = AlertRule(
        id="busy", metric=telemetry.CLIENT_RATE.name, comparison=">", threshold=1.5,
        severity=Severity.LOW, message="m", per="monitor",
    )  # fmt: skip
    predict = monitored(
        "back", client=str, rules=[rule], sinks=[seen.append], clock=lambda: now[0]
    )(len)
    for at, calls in ((10_000.0, 100), (6_400.0, 60), (6_405.0, 0)):
        now[0] = at
        for _ in range(calls):
            predict("ann")
        predict.monitor.flush()
    assert [alert.state for alert in seen] == ["firing", "resolved"]
    assert predict.monitor.snapshot().clients["ann"].rate == pytest.approx(1.0)
    predict.monitor.close()


def test_every_counter_stands_at_zero_before_anything_has_happened() -> None:
    predict = monitored("zeros", baseline=Baseline.fit(RNG.normal(size=(200, 2))))(len)
    known = page("zeros")
    calls = known[telemetry.CALLS.name]
    assert calls == {(outcome, ""): 0 for outcome in ("ok", "error", "refused")}

    alerts = known[telemetry.ALERTS.name]
    assert alerts == {(rule.id, rule.severity.label): 0 for rule in DEFAULT_RULES}
    assert known[telemetry.DURATION.name][()].count == 0
    predict.monitor.close()
