from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from mlsecops.findings import Alert
from mlsecops.monitoring import monitored
from mlsecops.monitoring.accuracy import AccuracyTracker
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


def test_labels_that_come_before_their_prediction_count_too() -> None:
    performance = LabelMatcher(0.9)
    for i in range(100):
        performance.labelled(str(i), 1, float(i))
        performance.predicted(str(i), np.array([1]), float(i))
    assert performance.accuracy == 1
    assert [point.at for point in performance.course.points] == [49.0, 99.0]
