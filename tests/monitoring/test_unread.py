from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlsecops import Baseline, ExtractionDetector, monitored
from mlsecops.monitoring.monitor_state import MonitorState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3))
ANSWERS = RNG.dirichlet([5, 1], 400)


def watched(
    baseline: Baseline | None, inputs: list[Any], model: Callable[[Any], Any]
) -> MonitorState:
    predict = monitored("unread", baseline=baseline)(model)
    for each in inputs:
        predict(each)
    assert predict.monitor.flush(10)
    state = predict.monitor.snapshot()
    predict.monitor.close()
    return state


def rules(state: MonitorState) -> list[str]:
    return [alert.rule for alert in state.alerts]


@pytest.mark.parametrize(
    "inputs", [["text"] * 100, [object()] * 100, [np.ones(9)] * 100, [{"z": 1}] * 100, [None] * 100]
)
def test_inputs_that_nobody_reads_are_an_alert_and_no_reading(inputs: list[Any]) -> None:
    state = watched(Baseline.fit(X, ANSWERS), inputs, lambda _: ANSWERS[0])
    assert state.unread_inputs == 100
    assert (state.anomaly, state.drift, state.failures) == (None, None, 0)
    assert state.confidence == pytest.approx(ANSWERS[0].max())
    assert "unread" in rules(state)


def test_answers_that_nobody_compares_are_an_alert() -> None:
    state = watched(Baseline.fit(X), list(X[:100]), lambda row: float(row.sum()))
    assert (state.unread_inputs, state.unread_answers, state.prediction_drift) == (0, 100, None)
    assert rules(state) == ["unread"]
    other = watched(Baseline.fit(X, ANSWERS), list(X[:100]), lambda _: np.full(5, 0.2))
    assert other.unread_answers == 100


@pytest.mark.parametrize("asked", [False, True])
def test_a_batch_without_rows_is_neither_unread_nor_a_failure(*, asked: bool) -> None:
    nobody = [(X[:50], ANSWERS[:50])] * 4
    baseline = Baseline.fit(X, ANSWERS)
    detector = ExtractionDetector.calibrate(baseline, nobody, false_positive_rate=0.1)
    predict = monitored("empty", baseline=baseline, detectors=[detector] if asked else None)(
        lambda rows: ANSWERS[: len(rows)]
    )
    for _ in range(100):
        predict(X[:0])
    assert predict.monitor.flush(10)
    state = predict.monitor.snapshot()
    assert (state.processed, state.failures) == (100, 0)
    assert (state.unread_inputs, state.unread_answers, rules(state)) == (0, 0, [])
    predict.monitor.close()


def test_answers_to_rows_that_were_not_taken_are_unread_inputs() -> None:
    predict = monitored("lost", baseline=Baseline.fit(X, ANSWERS), inputs=lambda rows: rows[:0])(
        lambda rows: ANSWERS[: len(rows)]
    )
    predict(X[:8])
    assert predict.monitor.flush(10)
    assert predict.monitor.snapshot().unread_inputs == 1
    predict.monitor.close()


def test_no_answer_is_unread_where_answers_are_expected_and_the_call_held() -> None:
    state = watched(Baseline.fit(X, ANSWERS), list(X[:100]), lambda _: None)
    assert (state.unread_answers, state.failures) == (100, 0)
    assert "unread" in rules(state)


@pytest.mark.parametrize(
    ("baseline", "model"),
    [
        (Baseline.fit(X, predictions=X[:, 0]), lambda row: float(row[0])),
        (Baseline.fit(X, ANSWERS[:, 1]), lambda _: 0.2),
        (Baseline.fit(X, ANSWERS), lambda _: ANSWERS[7].tolist()),
        (Baseline.fit(X), lambda _: None),
        (None, lambda _: "whatever"),
    ],
)
def test_what_is_read_or_not_to_be_compared_is_no_alert(
    baseline: Baseline | None, model: Callable[[Any], Any]
) -> None:
    state = watched(baseline, list(X[:100]), model)
    assert (state.unread_inputs, state.unread_answers, state.failures) == (0, 0, 0)
    assert "unread" not in rules(state)


def test_a_stray_call_is_counted_but_no_alert() -> None:
    state = watched(Baseline.fit(X, ANSWERS), [*X[:150], "stray"], lambda _: ANSWERS[0])
    assert state.unread_inputs == 1
    assert "unread" not in rules(state)


def test_frames_are_read_by_name_in_any_order_of_columns() -> None:
    table = pd.DataFrame({"age": RNG.normal(40, 9, 900), "city": RNG.choice(["Rome", "Oslo"], 900)})
    predict = monitored("frames", baseline=Baseline.fit(table[:500]))(lambda _: None)
    predict(table[500:][["city", "age"]])
    for record in table[:100].to_dict("records"):
        predict(record)
    predict.monitor.flush(10)
    state = predict.monitor.snapshot()
    predict.monitor.close()
    assert state.profile is not None
    assert (state.profile.count, state.unread_inputs, rules(state)) == (500, 0, [])


def test_a_regression_has_drift_and_a_loss_to_expect() -> None:
    truth = X.sum(axis=1) + RNG.normal(size=400) * 0.1
    baseline = Baseline.fit(X, labels=truth, predictions=X.sum(axis=1))
    usual = watched(baseline, list(RNG.normal(size=(300, 3))), lambda row: np.array([row.sum()]))
    assert rules(usual) == []
    assert usual.expected_loss == pytest.approx(baseline.loss, rel=0.5)
    moved = watched(baseline, list(RNG.normal(size=(300, 3))), lambda row: float(row.sum()) + 9)
    assert rules(moved) == ["prediction-drift"]
    assert moved.prediction_drift is not None
    assert moved.prediction_drift.drifted == ("prediction",)
    assert moved.to_dict()["prediction_drift"]["drifted"] == ["prediction"]


def test_answers_out_of_which_nothing_is_taken_are_unread() -> None:
    predict = monitored(
        "taken", baseline=Baseline.fit(X, ANSWERS), probabilities=lambda found: found.get("p")
    )(lambda _: {"probabilities": ANSWERS[0]})
    for row in X[:100]:
        predict(row)
    predict.monitor.flush()
    state = predict.monitor.snapshot()
    predict.monitor.close()
    assert (state.unread_answers, state.confidence, rules(state)) == (100, None, ["unread"])


def test_forked_child_has_none_of_the_unread_calls_of_its_parent() -> None:
    predict = monitored("fork-unread", baseline=Baseline.fit(X))(lambda _: None)
    for _ in range(3):
        predict("text")
    predict.monitor.flush()
    assert predict.monitor.snapshot().unread_inputs == 3
    child = os.fork()
    if child == 0:
        os._exit(predict.monitor.snapshot().unread_inputs)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    predict.monitor.close()
