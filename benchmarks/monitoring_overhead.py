"""What monitoring costs the caller: ratios of one run against OpenTelemetry used directly.

Each contestant wraps the same function, which returns a prepared answer. Rounds are interleaved,
so that a slow moment of the machine hits all of them, and medians are compared. Measured is the
calling thread's CPU time (``time.thread_time``) and that of the whole process.

Run: python benchmarks/monitoring_overhead.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from mlsecops.monitoring import Baseline, monitored

CALLS = 3000
ROUNDS = 15
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


def rounds(contestants: dict[str, Call], x: np.ndarray, settle: Callable[[], object]) -> None:
    """Measure all contestants in turn and print medians as ratios."""
    own: dict[str, list[float]] = {name: [] for name in contestants}
    whole: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            thread, process = time.thread_time(), time.process_time()
            for _ in range(CALLS):
                call(x)
            own[name].append((time.thread_time() - thread) / CALLS)
            settle()
            whole[name].append((time.process_time() - process) / CALLS)
    bare_own, bare_whole = (statistics.median(each["bare"]) for each in (own, whole))
    peer = "OpenTelemetry SDK"
    peer_own = statistics.median(own[peer]) - bare_own
    peer_whole = statistics.median(whole[peer]) - bare_whole
    print(f"{'':30}{'caller, us':>12}{'ratio':>8}{'process, us':>14}{'ratio':>8}")
    for name in contestants:
        thread = statistics.median(own[name]) - bare_own
        process = statistics.median(whole[name]) - bare_whole
        print(
            f"{name:30}{thread * 1e6:12.2f}{thread / peer_own:8.2f}"
            f"{process * 1e6:14.2f}{process / peer_whole:8.2f}"
        )


def main() -> None:
    rng = np.random.default_rng(0)
    answer = np.array([0.9, 0.1])
    rows = rng.normal(size=(1000, 50))
    baseline = Baseline.fit(rows, np.tile(answer, (1000, 1)))

    def bare(_: np.ndarray) -> np.ndarray:
        return answer

    api = telemetry(bare, trace.get_tracer("api"), metrics.get_meter("api"))
    # Without a span processor: exporting spans would only make OpenTelemetry dearer.
    provider = TracerProvider()
    meters = MeterProvider(metric_readers=[InMemoryMetricReader()])
    sdk = telemetry(bare, provider.get_tracer("sdk"), meters.get_meter("sdk"))
    plain = monitored("plain", client=lambda _: "client", capacity=CALLS)(bare)
    full = monitored("full", baseline=baseline, client=lambda _: "client", capacity=CALLS)(bare)
    contestants: dict[str, Call] = {
        "bare": bare,
        "OpenTelemetry SDK": sdk,
        "OpenTelemetry API, no SDK": api,
        "@monitored": plain,
        "@monitored with baseline (50)": full,
    }
    rounds(contestants, rows[0], lambda: (plain.monitor.flush(30), full.monitor.flush(30)))
    for watched in (plain, full):
        state = watched.monitor.snapshot()
        print(f"{watched.monitor.name}: {state.calls} calls, {state.dropped} dropped")


if __name__ == "__main__":
    main()
