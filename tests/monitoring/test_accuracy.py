from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import hypergeom

from mlsecops.drift.alarms.alarm_rate import WEEKLY, AlarmRate
from mlsecops.findings import Alert
from mlsecops.monitoring import monitored
from mlsecops.monitoring.accuracy import AccuracyTracker
from mlsecops.monitoring.accuracy_limit import lowest_by_chance
from mlsecops.monitoring.label_matching import LabelMatcher

STEADY = [0.92] * 1500


def course(seed: int, rates: Iterable[float]) -> AccuracyTracker:
    rng = np.random.default_rng(seed)
    accuracy = AccuracyTracker()
    for at, rate in enumerate(rates):
        accuracy.update([bool(rng.random() < rate)], float(at))
    return accuracy


@pytest.mark.parametrize("seed", range(5))
def test_steady_accuracy_is_no_change(seed: int) -> None:
    assert course(seed, [0.92] * 5000).change is None


@pytest.mark.parametrize("seed", range(5))
def test_a_sudden_drop_is_told_from_a_slow_one(seed: int) -> None:
    sudden = course(seed, [*STEADY, *[0.5] * 600]).change
    slow = course(seed, [*STEADY, *np.linspace(0.92, 0.5, 2500)]).change
    assert sudden is not None
    assert slow is not None
    assert (sudden.kind, slow.kind) == ("sudden", "slow")
    assert sudden.before == pytest.approx(0.92, abs=0.03)
    assert sudden.after == pytest.approx(0.5, abs=0.07)
    assert sudden.labels == pytest.approx(600, abs=50)
    assert slow.lost == pytest.approx(0.42, abs=0.1)


def test_points_over_time_are_kept_and_bounded() -> None:
    accuracy = course(0, [0.9] * 520)
    assert [point.at for point in accuracy.points] == [49.0 + 50 * i for i in range(10)]
    assert np.mean([point.accuracy for point in accuracy.points]) == pytest.approx(0.9, abs=0.05)
    accuracy.update([True] * 25_000, 1.0)
    assert len(accuracy.points) == 400


def test_a_slow_slide_raises_an_alert_before_it_is_a_drop() -> None:
    alerts: list[Alert] = []
    rng = np.random.default_rng(0)
    serve = monitored(
        "slide", request_id=lambda _, i: i, inputs=lambda *_: None, sinks=[alerts.append]
    )(lambda right, _i: int(right))
    rates = [*STEADY, *np.linspace(0.92, 0.72, 3000)]
    for i, rate in enumerate(rates):
        serve(rng.random() < rate, i)
        serve.monitor.record_label(i, 1)
        if i % 500 == 0:
            serve.monitor.flush(10)
    serve.monitor.flush(10)
    state = serve.monitor.snapshot()
    assert state.accuracy_change is not None
    assert state.accuracy_change.kind == "slow"
    assert state.to_dict()["accuracy_change"]["kind"] == "slow"
    assert len(state.to_dict()["accuracy_points"]) == len(rates) // 50
    assert [alert.rule for alert in alerts][:1] == ["accuracy-slide"]
    serve.monitor.close()


@pytest.mark.parametrize(
    ("hits", "rows", "labels"), [(980, 1_000, 30), (900, 1_000, 200), (50_000, 100_000, 64)]
)
def test_the_limit_of_chance_is_fishers(hits: int, rows: int, labels: int) -> None:
    risk = 1e-5
    limit = lowest_by_chance(hits=hits, rows=rows, labels=labels, risk=risk)
    first = round(limit * labels)
    for right, within in ((first, True), (first - 1, False)):
        chance = hypergeom(labels + rows, hits + right, labels).cdf(right)
        assert (chance > risk) == within


def test_no_accuracy_is_a_drop_where_chance_explains_every_one() -> None:
    assert lowest_by_chance(hits=0, rows=100, labels=30, risk=1e-5) == 0


def judged(hits: Iterable[bool], *, rate: AlarmRate = WEEKLY) -> list[bool]:
    """Whether each label, one a second, makes the accuracy a drop below a reference of 0.8."""
    matcher, found = LabelMatcher(0.8, rows=5_000, rate=rate), []
    for i, hit in enumerate(hits):
        matcher.predicted(str(i), np.array([int(hit)]), float(i))
        matcher.labelled(str(i), 1, float(i))
        limit = matcher.limit
        found.append(limit is not None and matcher.accuracy < limit)  # type: ignore[operator]
    return found


@pytest.mark.parametrize("run", [1, 10])
def test_an_accuracy_that_stays_is_no_drop_even_where_right_answers_come_in_runs(run: int) -> None:
    hits = np.repeat(np.random.default_rng(run).random(6_000 // run) < 0.8, run)
    assert not any(judged(hits)[192:])


def test_without_the_dependence_of_answers_runs_of_them_would_be_a_drop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LabelMatcher, "_effect", lambda *_: 1.0)
    assert any(judged(np.repeat(np.random.default_rng(10).random(600) < 0.8, 10))[192:])


def test_a_drop_is_found_and_a_stricter_rate_takes_more_labels() -> None:
    hits = np.random.default_rng(0).random(400) < np.repeat([0.8, 0.4], [200, 200])
    often, seldom = (judged(hits, rate=AlarmRate.parse(each)) for each in ("1/hour", "1/year"))
    assert 200 < often.index(True) < seldom.index(True) < 320


def test_labels_that_come_before_their_prediction_count_too() -> None:
    performance = LabelMatcher(0.9)
    for i in range(100):
        performance.labelled(str(i), 1, float(i))
        performance.predicted(str(i), np.array([1]), float(i))
    assert performance.accuracy == 1
    assert [point.at for point in performance.course.points] == [49.0, 99.0]
