"""Kept parts of a call, its trace, and the answer to a refused one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mlsecops.errors import CallRefused, ModelIsolated, UsageError
from mlsecops.monitoring import Baseline, Captured, RateLimit, monitored
from mlsecops.monitoring.telemetry import metrics
from mlsecops.provenance.digest import Digest
from tests.attackers.monitoring import Refusing, flood

ANSWER = np.array([0.9, 0.1])
DIGEST = Digest.of(b"model")


def settled(watched: Any) -> Any:
    """State after a flush, in which every call is accounted for."""
    assert watched.monitor.flush(5)
    state = watched.monitor.snapshot()
    assert state.calls == state.processed + state.dropped
    return state


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Spans that were finished."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    monkeypatch.setattr(metrics.TELEMETRY, "_tracer", None)
    return exporter


def test_nothing_is_kept_unless_asked_and_then_only_what_redaction_leaves() -> None:
    def predict(_x: object, _who: str) -> np.ndarray:
        return ANSWER

    silent = monitored("silent")(predict)
    silent(np.ones(3), "ann")
    assert settled(silent).processed == 1
    assert silent.monitor.captured == ()

    def redact(call: Captured) -> Captured | None:
        if call.client == "secret":
            return None
        if call.client == "odd":
            raise ValueError("no way to redact this")
        return dataclasses.replace(call, client="?", inputs=call.inputs[:1])

    kept = monitored("kept", client=lambda _, who: who, capture=2, redact=redact)(predict)
    for i, who in enumerate(["ann", "ben", "cleo", "secret", "odd"]):
        kept(np.full(3, i), who)
    assert settled(kept).failures == 1
    assert [(each.client, each.inputs.tolist()) for each in kept.monitor.captured] == [
        ("?", [1]),
        ("?", [2]),
    ]
    for each in (silent, kept):
        each.monitor.close()


def test_without_content_nothing_is_copied_and_clients_are_still_counted() -> None:
    class Untouchable:
        def copy(self) -> object:
            raise AssertionError

        def __array__(self, *_: object) -> np.ndarray:
            raise AssertionError

    predict = monitored("blind", client=lambda *_: "c", content=False)(lambda x: x)
    flood(predict, 10, Untouchable())
    state = settled(predict)
    assert (state.processed, state.failures, state.clients["c"].rows) == (10, 0, 10)
    predict.monitor.close()


def test_client_that_is_refused_or_fails_is_counted_too() -> None:
    limit = RateLimit(1, burst=4)
    broken = monitored("errors", client=lambda *_: "bot", guards=[limit])(lambda x: 1 // x)
    assert flood(broken, 30, 0) == 30
    assert settled(broken).clients["bot"].rows == 30
    broken.monitor.close()


@pytest.mark.parametrize(
    "wrong", [{"spans": 1.5}, {"spans": -1}, {"capture": -1}, {"redact": lambda call: call}]
)
def test_options_out_of_their_range_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError):
        monitored("wrong", **wrong)


def test_context_form_guards_records_and_takes_the_result() -> None:
    watched = monitored("context", guards=[RateLimit(1, burst=3)], digest=DIGEST)
    for request in ("a", "b"):
        with watched.call(np.ones(3), client="ann", request_id=request) as call:
            call.result = ANSWER
    with pytest.raises(ZeroDivisionError), watched.call(np.ones(3), client="ann"):
        1 // 0  # noqa: B018 - it raises
    with pytest.raises(CallRefused), watched.call(np.ones(3), client="ann"):
        pytest.fail("a refused call must not run")
    with pytest.raises(UsageError, match="entered"), call:
        pytest.fail("one call, one context")
    watched.monitor.record_label("a", 0)
    watched.monitor.record_label("b", 1)
    state = settled(watched)
    assert (state.calls, state.accuracy, state.clients["ann"].rows) == (4, 0.5, 4)
    assert state.confidence == pytest.approx(0.9)
    watched.monitor.close()


def test_refused_call_answers_with_the_fallback_of_its_kind() -> None:
    options: dict[str, Any] = {"guards": [Refusing()]}
    ask = lambda fallback: monitored("fallback", fallback=fallback, **options)  # noqa: E731 - four uses
    told: list[CallRefused] = []

    @ask(lambda refusal: told.append(refusal) or "sorry")
    def plain(_x: int) -> str:
        return pytest.fail("must not run")

    async def later(_: CallRefused) -> str:
        return "later"

    @ask(later)
    async def coroutine(_x: int) -> str:
        return pytest.fail("must not run")

    @ask(lambda _: iter(["a", "b"]))
    def generator(_x: int) -> Iterator[str]:
        yield pytest.fail("must not run")

    @ask(lambda _: ["a", "b"])
    async def stream(_x: int) -> AsyncIterator[str]:
        yield pytest.fail("must not run")

    async def collect() -> list[str]:
        return [item async for item in stream(1)]

    assert plain(1) == "sorry"
    assert isinstance(told[0], ModelIsolated)
    assert asyncio.run(coroutine(1)) == "later"
    assert list(generator(1)) == asyncio.run(collect()) == ["a", "b"]
    for each in (plain, coroutine, generator, stream):
        assert settled(each).calls == 1
        each.monitor.close()


def test_sampled_calls_are_spans_without_content_and_parents_of_what_they_do(
    spans: InMemorySpanExporter,
) -> None:
    tracer = trace.get_tracer("inner")

    def work(x: int) -> float:
        with tracer.start_as_current_span("inner"):
            return 1 / x

    watched = monitored("traced", spans=1.0, digest=DIGEST)(work)
    watched(1)
    with pytest.raises(ZeroDivisionError):
        watched(0)
    inner, outer, _, failed = spans.get_finished_spans()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.attributes == {
        "mlsecops.monitor": "traced",
        "mlsecops.model.digest": str(DIGEST),
        "mlsecops.inference.outcome": "ok",
    }
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "ZeroDivisionError"
    assert (failed.status.is_ok, failed.events) == (False, ())
    assert trace.get_current_span() is trace.INVALID_SPAN
    watched.monitor.close()


def test_share_of_spans_is_what_was_asked(spans: InMemorySpanExporter) -> None:
    none, some = monitored("none")(len), monitored("some", spans=0.2)(len)
    flood(none, 500, "x")
    assert spans.get_finished_spans() == ()
    flood(some, 2000, "x")
    # Six standard deviations around 400.
    assert 292 < len(spans.get_finished_spans()) < 508
    for each in (none, some):
        each.monitor.close()


def test_spans_that_fail_are_counted_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def start_span(self, *_: object, **__: object) -> None:
            raise RuntimeError("exporter is broken")

    monkeypatch.setattr(metrics.TELEMETRY, "_tracer", Broken())
    watched = monitored("broken-spans", spans=1.0)(len)
    assert watched("abc") == 3
    assert settled(watched).failures == 1
    watched.monitor.close()


@pytest.mark.parametrize("judged", ["against a baseline", "alone"])
def test_calls_read_at_once_are_seen_as_those_read_one_by_one(judged: str) -> None:
    rng = np.random.default_rng(0)
    rows, answers = rng.normal(size=(300, 5)), rng.dirichlet([3, 1, 1], 300)
    baseline = Baseline.fit(rows, answers) if judged == "against a baseline" else None
    states = []
    for name, tap in (("at-once", None), ("one-by-one", lambda result: result)):
        watched = monitored(
            name,
            baseline=baseline,
            client=lambda i: f"c{i % 3}",
            request_id=lambda i: i,
            inputs=lambda i: rows[i] if i % 50 else rows[i : i + 1],  # batches among singles
            probabilities=tap,
            clock=lambda: 1000.0,
        )(lambda i: answers[i] if i % 70 else "no probabilities")
        for i in range(300):
            watched(i)
            watched.monitor.record_label(i, 0)
        states.append(settled(watched).to_dict())
        watched.monitor.close()
    assert states[0] == states[1]
    assert states[0]["accuracy"] is not None
    assert states[0]["failures"] == 0
