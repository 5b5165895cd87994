import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import DigestMismatch, SignatureMissing, UnsafeContent, UsageError
from mlsecops.loading import telemetry
from mlsecops.signing import Signer, sign
from tests.attackers import loading as attack
from tests.loading.conftest import Trusting

pytest.importorskip("opentelemetry.sdk")
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)


class Seen:
    """Spans and metrics of an OpenTelemetry SDK."""

    def __init__(self) -> None:
        self.spans_of, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = (
            TracerProvider(shutdown_on_exit=False),
            MeterProvider([self.reader]),
        )
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_of))

    def spans(self) -> Any:
        return {span.name: span for span in self.spans_of.get_finished_spans()}

    def points(self) -> Any:
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for scope in data.resource_metrics[0].scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    found = Seen()
    monkeypatch.setattr(trace, "get_tracer", found.tracers.get_tracer)
    monkeypatch.setattr(metrics, "get_meter", found.meters.get_meter)
    telemetry._telemetry.forget()
    yield found
    telemetry._telemetry.forget()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def file(tmp_path: Path, signer: Signer) -> Path:
    np.savez(tmp_path / "model.npz", w=np.arange(5))
    sign(tmp_path / "model.npz", signer)
    return tmp_path / "model.npz"


def test_a_load_tells_what_was_loaded_and_how_long_it_took(
    seen: Seen, file: Path, trusting: Trusting
) -> None:
    loaded = trusting().load(file)
    spans = seen.spans()
    whole = spans["mlsecops.load"]
    told = dict(whole.attributes)
    assert told["mlsecops.load.digest"] == str(loaded.digest)
    assert told["mlsecops.load.signers"] == loaded.verified.signers
    assert told["mlsecops.load.format"] == "npz"
    assert told["mlsecops.load.tier"] == "sealed"
    assert told["mlsecops.load.bytes"] == file.stat().st_size
    assert told["mlsecops.load.name"] == "model.npz"
    assert [event.name for event in whole.events] == ["mlsecops.load.loaded"]
    for step in ("verify", "hold", "scan", "decode"):
        child = spans[f"mlsecops.load.{step}"]
        assert child.parent.span_id == whole.context.span_id
        assert told[f"mlsecops.load.{step}.seconds"] >= 0
    (calls,) = seen.points()["mlsecops.load.calls"]
    assert (calls.value, calls.attributes["outcome"]) == (1, "loaded")
    (duration,) = seen.points()["mlsecops.load.duration"]
    assert duration.count == 1
    assert duration.sum >= told["mlsecops.load.decode.seconds"]


def test_a_refusal_tells_the_rule_the_place_and_the_name(
    seen: Seen, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    bad = tmp_path / "model.pkl"
    bad.write_bytes(attack.malicious_pickle(tmp_path / "ran"))
    sign(bad, signer)
    with pytest.raises(UnsafeContent) as caught:
        trusting().load(bad)
    (event,) = seen.spans()["mlsecops.load"].events
    assert event.name == "mlsecops.load.refused"
    told = dict(event.attributes)
    assert told["mlsecops.load.outcome"] == "refused"
    assert told["mlsecops.load.reason"] == "UnsafeContent"
    assert told["mlsecops.load.rule"] == "pickle-global"
    assert told["mlsecops.load.where"] == caught.value.where
    assert told["mlsecops.load.global"] in {"posix.mkdir", "os.mkdir"}
    assert "mlsecops.load.digest" in told
    (calls,) = seen.points()["mlsecops.load.calls"]
    assert calls.attributes["reason"] == "UnsafeContent"


def test_each_kind_of_end_is_told_apart(seen: Seen, file: Path, trusting: Trusting) -> None:
    with pytest.raises(UsageError):
        trusting().load(file, framework="torch")
    file.write_bytes(b"x")
    with pytest.raises(DigestMismatch):
        trusting().load(file)
    file.with_name("model.npz.sig").unlink()
    with pytest.raises(SignatureMissing):
        trusting().load(file)
    ends = {
        (point.attributes["outcome"], point.attributes["reason"])
        for point in seen.points()["mlsecops.load.calls"]
    }
    assert ends == {
        ("error", "UsageError"),
        ("refused", "DigestMismatch"),
        ("refused", "SignatureMissing"),
    }


def test_no_contents_and_no_folders_are_told(
    seen: Seen, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    secret = "7f3a-secret-in-the-weights"
    for name, data in {
        "good.pkl": pickle.dumps({"key": secret}),
        "bad.pkl": secret.encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        sign(tmp_path / name, signer)
    trusting().load(tmp_path / "good.pkl")
    with pytest.raises(Exception, match="bad"):
        trusting().load(tmp_path / "bad.pkl")
    everything = json.dumps(
        [json.loads(span.to_json()) for span in seen.spans_of.get_finished_spans()]
    )
    assert secret not in everything
    assert str(tmp_path) not in everything


def test_exceptions_that_were_used_are_named(
    seen: Seen, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    (tmp_path / "m.pkl").write_bytes(
        b"\x80\x04" + attack.text("string") + attack.text("Formatter") + b"\x93)R."
    )
    sign(tmp_path / "m.pkl", signer)
    trusting(allow_globals=["string.Formatter", "string.Template"]).load(tmp_path / "m.pkl")
    assert seen.spans()["mlsecops.load"].attributes["mlsecops.load.exceptions"] == (
        "string.Formatter",
    )


class Faulty:
    """A span processor that fails whenever it is told something."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.usefixtures("seen")
def test_a_fault_of_metrics_is_not_the_loads(
    file: Path, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry._telemetry, "_instrument", lambda _: Faulty().x)
    assert trusting().load(file).format == "npz"
    monkeypatch.undo()


def test_a_fault_of_a_span_is_not_the_loads(seen: Seen, file: Path, trusting: Trusting) -> None:
    seen.tracers.add_span_processor(Faulty())
    assert trusting().load(file).format == "npz"
    (calls,) = seen.points()["mlsecops.load.calls"]
    assert calls.value == 1
