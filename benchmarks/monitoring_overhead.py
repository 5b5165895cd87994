"""Monitoring's cost to the caller: ratios of one run against OpenTelemetry used directly.

The peer is "a span and three instruments through the OpenTelemetry SDK". Each contestant wraps the
same function. Rounds are interleaved and start with another contestant each, so that a slow moment
of the machine hits all of them; medians are compared.

1. CPU a call: of the calling thread (``time.thread_time``), and of the whole process with
   everything aggregated (``time.process_time``). The function returns a prepared answer.
2. Wall time a call while the background works: the function multiplies matrices, which lets go of
   the interpreter as a real model does. Rounds are long beside the background's pause of 0.1 s.
   One contestant more: the SDK with a thread that takes spans to an exporter which does nothing.
   Percentiles are taken in each round, and their medians printed; the ratio of a round is that to
   the peer in the same round, with the smallest and the largest one in brackets.
3. 20,000 calls a second for 30 seconds: how many were dropped, and whether all are accounted for.

Run: python -m benchmarks monitoring_overhead, or
     python -m benchmarks.monitoring_overhead [--part cpu|wall|sustained …]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from mlsecops.monitoring import Baseline, ExtractionDetector, monitored

CALLS, ROUNDS = 2000, 15
LONG_CALLS, LONG_ROUNDS = 20_000, 7
RATE, SECONDS = 20_000, 30
PEER, API = "OpenTelemetry SDK", "OpenTelemetry API, no SDK"
EXPORTING = "OpenTelemetry SDK, spans taken away"
FEATURES = 50
PARTS = ("cpu", "wall", "sustained")

Call = Callable[[np.ndarray], Any]


def telemetry(function: Call, tracer: Any, meter: Any) -> Call:
    """A span and three instruments around a call."""
    calls = meter.create_counter("bench.calls")
    duration = meter.create_histogram("bench.duration", "s")
    confidence = meter.create_histogram("bench.confidence", "1")

    def call(x: np.ndarray) -> Any:
        start = time.perf_counter_ns()
        with tracer.start_as_current_span("predict") as span:
            result = function(x)
            span.set_attribute("model", "bench")
        calls.add(1, {"model": "bench"})
        duration.record((time.perf_counter_ns() - start) * 1e-9, {"model": "bench"})
        confidence.record(float(result[0]), {"model": "bench"})
        return result

    return call


def contestants(function: Call, rows: np.ndarray, answers: np.ndarray) -> dict[str, Call]:
    """The function bare, with OpenTelemetry, and watched with more and more."""
    baseline = Baseline.fit(rows, answers)
    rng = np.random.default_rng(1)
    benign = [rng.choice(len(rows), 100) for _ in range(16)]
    extraction = ExtractionDetector.calibrate(
        baseline, [(rows[own], answers[own]) for own in benign], false_positive_rate=0.01
    )
    # Without a span processor: exporting spans would only make OpenTelemetry dearer.
    tracer = TracerProvider().get_tracer("sdk")
    meter = MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("sdk")
    clients = iter(range(10**9))
    options: dict[str, Any] = {"client": lambda _: f"c{next(clients) // 100}"}
    return {
        "bare": function,
        PEER: telemetry(function, tracer, meter),
        API: telemetry(function, trace.get_tracer("api"), metrics.get_meter("api")),
        "@monitored, no baseline": monitored("bench-plain", **options)(function),
        "@monitored, default detectors": monitored("bench", baseline=baseline, **options)(function),
        "@monitored, a span in a hundred": monitored(
            "bench-spans", baseline=baseline, spans=0.01, **options
        )(function),
        "@monitored, with extraction": monitored(
            "bench-extraction", baseline=baseline, detectors=[extraction], **options
        )(function),
    }


class Nowhere(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - as said
        """Say that they arrived."""
        return SpanExportResult.SUCCESS


def exporting(function: Call) -> Call:
    """The peer as it runs in production, at its cheapest."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    meter = MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("exporting")
    return telemetry(function, provider.get_tracer("exporting"), meter)


def settle(call: Any) -> None:
    """Let everything be aggregated."""
    if hasattr(call, "monitor"):
        call.monitor.flush(60)


def turns(names: list[str], number: int) -> list[str]:
    """The contestants, starting with another one each round."""
    first = number % len(names)
    return names[first:] + names[:first]


def cpu(called: Mapping[str, Call], rows: np.ndarray) -> None:
    """CPU a call beside the bare function, and as a share of the peer's."""
    own: dict[str, list[float]] = {name: [] for name in called}
    whole: dict[str, list[float]] = {name: [] for name in called}
    for number in range(ROUNDS):
        for name in turns(list(called), number):
            call = called[name]
            thread, process = time.thread_time(), time.process_time()
            for i in range(CALLS):
                call(rows[i % len(rows)])
            own[name].append((time.thread_time() - thread) / CALLS)
            settle(call)
            whole[name].append((time.process_time() - process) / CALLS)
    caller, process = _beside(own), _beside(whole)
    head = ("caller, us", "/ SDK", "/ API", "process, us", "/ SDK")
    print(f"{'CPU a call':34}" + "".join(f"{each:>12}" for each in head))
    for name in called:
        cells = (
            f"{caller[name] * 1e6:.2f}",
            f"{caller[name] / caller[PEER]:.2f}",
            f"{caller[name] / caller[API]:.2f}",
            f"{process[name] * 1e6:.2f}",
            f"{process[name] / process[PEER]:.2f}",
        )
        print(f"{name:34}" + "".join(f"{each:>12}" for each in cells))


def _beside(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Medians beside the bare function's."""
    bare = statistics.median(times["bare"])
    return {name: statistics.median(each) - bare for name, each in times.items()}


def wall(called: Mapping[str, Call], rows: np.ndarray) -> None:
    """Percentiles of a call's wall time in each round, while the background works."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in called}
    for number in range(LONG_ROUNDS):
        for name in turns(list(called), number):
            call, own = called[name], np.empty(LONG_CALLS)
            for i in range(LONG_CALLS):
                start = time.perf_counter_ns()
                call(rows[i % len(rows)])
                own[i] = time.perf_counter_ns() - start
            settle(call)
            found[name].append(np.percentile(own, [50, 99, 99.9]) / 1e3)
    print(f"\n{'wall time a call, us':34}{'p50':>12}{'p99':>12}{'p99 / SDK':>22}{'p99.9':>12}")
    peer = np.array(found[PEER])[:, 1]
    for name, each in found.items():
        middle, high, highest = np.median(each, axis=0)
        ratios = np.array(each)[:, 1] / peer
        shown = f"{np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
        print(f"{name:34}{middle:12.1f}{high:12.1f}{shown:>22}{highest:12.1f}")


def sustained(call: Any, rows: np.ndarray) -> None:
    """Many calls a second for long: everything is processed, or counted as dropped."""
    before = call.monitor.snapshot()
    start, made = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < SECONDS:
        due = int(passed * RATE)
        if made >= due:
            time.sleep(0.0005)
        while made < due:
            call(rows[made % len(rows)])
            made += 1
    settle(call)
    state = call.monitor.snapshot()
    calls, processed, dropped = (
        getattr(state, name) - getattr(before, name) for name in ("calls", "processed", "dropped")
    )
    print(
        f"\n{made / SECONDS:,.0f} calls a second for {SECONDS} s: {made:,} made, "
        f"{calls:,} counted, {processed:,} processed, {dropped:,} dropped, "
        f"{made - processed - dropped:,} unaccounted for"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS)
    parts = parser.parse_args().part or PARTS
    rng = np.random.default_rng(0)
    rows, answers = rng.normal(size=(1000, FEATURES)), rng.dirichlet([9, 1], 1000)
    answer, weights = answers[0], rng.normal(size=(96, 96))

    def prepared(_: np.ndarray) -> np.ndarray:
        return answer

    def model(_: np.ndarray) -> np.ndarray:
        _ = weights @ weights
        return answer

    called = contestants(prepared, rows, answers)
    if "cpu" in parts:
        cpu(called, rows)
    if "wall" in parts:
        wall({**contestants(model, rows, answers), EXPORTING: exporting(model)}, rows)
    if "sustained" in parts:
        sustained(called["@monitored, default detectors"], rows)


if __name__ == "__main__":
    main()
