"""The monitoring contract: each sentence of it, through public names only."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlsecops
from mlsecops import Alert, Baseline, monitored
from mlsecops.monitoring import DEFAULT_RULES, METRICS, AlertmanagerSink
from mlsecops.reports import alert_rules

RNG = np.random.default_rng(0)
ROWS, ANSWERS = RNG.normal(size=(400, 3)), RNG.dirichlet([5, 1], 400)


def settled(function: Any) -> Any:
    assert function.monitor.flush(10)
    state = function.monitor.snapshot()
    assert state.calls == state.processed + state.dropped
    return state


def test_options_have_the_names_and_defaults_that_were_promised() -> None:
    options = inspect.signature(monitored).parameters
    promised = ["baseline", "client", "request_id", "inputs", "probabilities", "guards",
                "detectors", "rules", "sinks", "capacity"]  # fmt: skip
    assert next(iter(options)) == "name"
    for each in promised:
        assert options[each].kind is inspect.Parameter.KEYWORD_ONLY
    assert options["capacity"].default == 65_536


def test_taps_take_the_calls_arguments_with_self_and_the_result() -> None:
    class Service:
        tenant = "acme"

        @monitored(
            "taps",
            baseline=Baseline.fit(ROWS, ANSWERS),
            client=lambda self, request: f"{self.tenant}/{request['user']}",
            request_id=lambda _self, request: request["id"],
            inputs=lambda _self, request: request["x"],
            probabilities=lambda reply: reply["p"],
        )
        def predict(self, request: dict[str, Any]) -> dict[str, Any]:
            return {"p": ANSWERS[request["id"]]}

    service = Service()
    for i in range(20):
        service.predict({"user": "ann", "id": i, "x": ROWS[i]})
        service.predict.monitor.record_label(i, int(ANSWERS[i].argmax()))
    state = settled(service.predict)
    assert state.clients["acme/ann"].rows == state.profile.count == 20
    assert (state.accuracy, state.failures) == (1.0, 0)
    assert state.confidence == pytest.approx(ANSWERS[:20].max(axis=1).mean())
    service.predict.monitor.close()


def test_input_is_the_first_argument_and_a_batch_is_rows_by_columns() -> None:
    predict = monitored("batches", baseline=Baseline.fit(ROWS, ANSWERS))(
        lambda x: ANSWERS[: len(x)]
    )
    predict(ROWS[:50])
    state = settled(predict)
    assert (state.calls, state.profile.count) == (1, 50)
    predict.monitor.close()


def test_state_has_what_was_promised_and_is_plain_values_for_json() -> None:
    predict = monitored("state", baseline=Baseline.fit(ROWS, ANSWERS))(lambda x: ANSWERS[: len(x)])
    predict(ROWS)
    state = settled(predict)
    for name in ("calls", "processed", "dropped", "failures", "confidence", "drift", "clients",
                 "accuracy", "alerts", "profile"):  # fmt: skip
        assert hasattr(state, name)
        assert name in state.to_dict()
    predict.monitor.close()


def test_alert_has_what_was_promised_and_a_sink_is_any_callable() -> None:
    told: list[Alert] = []
    predict = monitored("alerts", baseline=Baseline.fit(ROWS, ANSWERS), sinks=[told.append])(
        lambda x: np.full((len(x), 2), 0.5)
    )
    predict(ROWS + 5)
    settled(predict)
    assert {alert.rule for alert in told} == {
        "confidence-low",
        "drift",
        "input-anomaly",
        "prediction-drift",
    }
    for name in ("rule", "monitor", "client", "digest", "reading", "threshold", "window",
                 "severity", "atlas", "message", "at", "state", "id", "labels"):  # fmt: skip
        assert all(hasattr(alert, name) for alert in told)
    predict.monitor.close()


def test_ends_of_a_service_have_the_names_that_were_promised() -> None:
    from mlsecops.integrations import gunicorn  # noqa: PLC0415 - the hooks, by their names
    from mlsecops.monitoring import lifespan  # noqa: PLC0415 - as above

    assert callable(lifespan)
    assert callable(lifespan.around(lifespan))
    assert {"worker_exit", "child_exit"} <= set(gunicorn.__all__)
    assert inspect.signature(AlertmanagerSink).parameters["labels"].default is None
    assert all(f"for: {rule.pending:.0f}s" in alert_rules([rule]) for rule in DEFAULT_RULES)


def test_default_rules_have_the_ids_that_were_promised() -> None:
    promised = {"confidence-low", "drift", "input-anomaly", "extraction", "accuracy-drop",
                "query-rate", "dropped"}  # fmt: skip
    assert promised <= {rule.id for rule in DEFAULT_RULES}


def test_confidence_rule_fires_just_below_nine_tenths_of_the_baseline_and_not_above() -> None:
    answers = np.tile([0.8, 0.2], (400, 1))
    baseline = Baseline.fit(ROWS, answers)
    for mean, expected in ((0.725, set()), (0.715, {"confidence-low"})):
        told: list[Alert] = []
        answer = np.array([mean, 1 - mean])
        predict = monitored("tenths", baseline=baseline, sinks=[told.append])(lambda _, a=answer: a)
        for row in ROWS[:200]:
            predict(row)
        settled(predict)
        assert {alert.rule for alert in told} & {"confidence-low"} == expected
        predict.monitor.close()


def test_extraction_is_off_without_calibration() -> None:
    told: list[Alert] = []
    predict = monitored(
        "off", baseline=Baseline.fit(ROWS, ANSWERS), client=lambda _: "thief", sinks=[told.append]
    )(lambda _: ANSWERS[0])
    for row in RNG.uniform(-9, 9, size=(500, 3)):
        predict(row)
    settled(predict)
    assert "extraction" not in {alert.rule for alert in told}
    predict.monitor.close()


def test_metrics_have_the_names_that_were_promised() -> None:
    names = {metric.name for metric in METRICS}
    assert {
        "mlsecops.inference.calls",
        "mlsecops.monitor.dropped",
        "mlsecops.model.accuracy",
        "mlsecops.prediction.confidence",
        "mlsecops.input.anomaly",
        "mlsecops.drift",
    } <= names
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    assert {
        "mlsecops.inference.duration",
        "mlsecops.prediction.confidence.distribution",
    } <= histograms


def test_dashboard_command_writes_its_three_files(tmp_path: Path) -> None:
    from mlsecops.cli import main  # noqa: PLC0415 - the command, beside the public names

    assert main(["dashboard", "--out", str(tmp_path / "out"), "--window", "15s"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "dashboard.json",
        "dashboard.html",
        "alerts.yml",
    }
    assert "[15s]" in (tmp_path / "out" / "alerts.yml").read_text()


def test_public_face_has_the_monitoring_names() -> None:
    assert {"monitored", "Baseline", "Profile", "ExtractionDetector", "Alert"} <= set(dir(mlsecops))
