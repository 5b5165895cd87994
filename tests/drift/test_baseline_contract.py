"""The contract's sentences on Baseline, Profile and a monitor's state."""

from __future__ import annotations

import inspect

import numpy as np

from mlsecops import Baseline, Profile, monitored

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 3))
ANSWERS = RNG.dirichlet([5, 1], 2000)


def test_fit_has_the_promised_arguments_and_default_names() -> None:
    parameters = inspect.signature(Baseline.fit).parameters
    assert list(parameters)[:3] == ["x", "probabilities", "labels"]
    assert parameters["probabilities"].default is parameters["labels"].default is None
    for name in ("predictions", "time", "names", "categorical"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert Baseline.fit(X, ANSWERS).names == ("f0", "f1", "f2")
    named = Baseline.fit(X, None, names=["a", "b", "c"], categorical=["c"])
    assert tuple(named.drift(X).features) == ("a", "b", "c")


def test_drift_of_rows_and_of_a_profile_has_names_and_readings() -> None:
    baseline = Baseline.fit(X, ANSWERS)
    moved = X + np.array([0.0, 1.0, 0.0])
    for traffic in (moved, moved.tolist(), baseline.profile().update(moved)):
        report = baseline.drift(traffic)
        assert report.drifted == ("f1",)
        reading = report.features["f1"]
        assert 0.3 < reading.ks <= 1
        assert reading.psi > 0.25
        assert 0 <= reading.p_value < 1e-6
        assert reading.missing == 0
        assert reading.error_bound >= 0
        assert reading.drifted is True


def test_profiles_update_merge_and_travel_as_bytes() -> None:
    baseline = Baseline.fit(X, ANSWERS)
    one, two = baseline.profile().update(X[:300]), baseline.profile().update(X[300:450])
    data = two.to_bytes()
    assert isinstance(data, bytes)
    one.merge(Profile.from_bytes(data))
    assert one.count == 450
    assert baseline.drift(one).rows == 450


def test_state_has_drift_and_accuracy_once_they_are_known() -> None:
    baseline = Baseline.fit(X, ANSWERS, ANSWERS.argmax(axis=1))
    serve = monitored(
        "state", baseline=baseline, request_id=lambda i: i, inputs=lambda i: X[i] + 2
    )(lambda i: ANSWERS[i])
    first = serve.monitor.snapshot()
    assert first.drift is first.accuracy is None
    for i in range(200):
        serve(i)
        serve.monitor.record_label(i, int(ANSWERS[i].argmax()) if i % 4 else 9)
    assert serve.monitor.flush(10)
    state = serve.monitor.snapshot()
    assert set(state.drift.drifted) == {"f0", "f1", "f2"}
    assert state.accuracy == 0.75
    assert state.to_dict()["drift"]["drifted"]
    serve.monitor.close()
