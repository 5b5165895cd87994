from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import metrics, trace

from mlsecops._telemetry import Instrument, Telemetry

TABLE = {
    "calls": Instrument("counter", "{call}", "Calls."),
    "seconds": Instrument("histogram", "s", "Durations."),
    "drift": Instrument("observable gauge", "1", "Distance."),
}


class Meter:
    """A meter that notes what is created and measured."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.measured: list[tuple[Any, ...]] = []

    def __getattr__(self, create: str) -> Any:
        def make(name: str, *, unit: str, description: str, callbacks: Any = ()) -> Any:
            self.made.append((create, name, unit, description, len(callbacks)))
            return self

        def measure(value: float, attributes: Any) -> None:
            self.measured.append((create, value, attributes))

        return make if create.startswith("create_") else measure


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()
    monkeypatch.setattr(metrics, "get_meter", lambda *_: meter)
    return meter


def test_an_instrument_is_created_once_whatever_threads_measure(meter: Meter) -> None:
    telemetry = Telemetry("test", "1", TABLE)
    work = [
        threading.Thread(target=telemetry.measure, args=("calls", 1, {"outcome": "ok"}))
        for _ in range(8)
    ]
    for each in work:
        each.start()
    for each in work:
        each.join()
    telemetry.measure("seconds", 0.5, {})
    telemetry.observe("drift", lambda _: [])
    assert meter.made == [
        ("create_counter", "calls", "{call}", "Calls.", 0),
        ("create_histogram", "seconds", "s", "Durations.", 0),
        ("create_observable_gauge", "drift", "1", "Distance.", 1),
    ]
    assert meter.measured == [("add", 1, {"outcome": "ok"})] * 8 + [("record", 0.5, {})]
    assert telemetry.failures == 0


def test_failures_of_telemetry_are_swallowed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no provider")

    monkeypatch.setattr(metrics, "get_meter", broken)
    monkeypatch.setattr(trace, "get_tracer", broken)
    monkeypatch.setattr(trace, "get_current_span", broken)
    telemetry = Telemetry("test", "1", TABLE)
    telemetry.measure("calls", 1, {})
    telemetry.measure("unknown", 1, {})
    telemetry.observe("drift", lambda _: [])
    telemetry.event("happened", {})
    with telemetry.span("work") as span:
        assert span is None
    assert telemetry.failures == 5


def test_what_the_work_in_a_span_raises_is_the_callers() -> None:
    telemetry = Telemetry("test", "1")
    with pytest.raises(KeyError), telemetry.span("work"):
        raise KeyError("of the work")
    with pytest.raises(KeyboardInterrupt), telemetry.swallowed:
        raise KeyboardInterrupt
    assert telemetry.failures == 0
