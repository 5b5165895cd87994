"""Attempts to blind, fill or confuse the monitoring."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import numpy as np
import pytest

from mlsecops.monitoring import Baseline, Quota, monitored
from mlsecops.monitoring.baseline_detector import BaselineDetector
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.instruments import collected
from mlsecops.monitoring.telemetry import metrics as telemetry
from tests.attackers.monitoring import endless_names, flood

ANSWER = np.array([0.9, 0.1])


def rate(monitor: str) -> float | None:
    """Exported rate of the busiest client."""
    for metric, points in collected():
        if metric is telemetry.CLIENT_RATE:
            return next((value for (name,), value in points if name == monitor), None)
    return None


def test_endless_names_and_ids_do_not_fill_the_memory() -> None:
    kept: list[Any] = []

    class Spy:
        def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - a guard's shape
            kept.append(client)

    predict = monitored(
        "endless", client=lambda x, *_: x, request_id=lambda x, *_: x, guards=[Spy()]
    )(lambda *_: ANSWER)
    names = endless_names(3, length=10**6)
    for name in names:
        predict(name)
        predict.monitor.record_label(name, 0)
    assert predict.monitor.flush(5)
    state = predict.monitor.snapshot()
    assert state.accuracy == 1.0
    assert len(state.clients) == 3, "long names that begin alike are still told apart"
    assert all(len(name) <= 256 for name in [*kept, *state.clients])
    predict.monitor.close()


def test_short_names_stay_as_they_are() -> None:
    assert [bounded(each) for each in ("ann", 7, None, ("a", "b"))] == ["ann", 7, None, ("a", "b")]
    assert len(bounded("\udc80" * 500)) <= 256


def test_ids_of_a_batch_count_against_the_queues_bytes() -> None:
    predict = monitored("ids", request_id=lambda _x, ids: ids)(lambda _x, _ids: ANSWER)
    predict.monitor._queue._max_bytes = 10_000
    predict.monitor._lock.acquire()
    predict(ANSWER, ["x" * 200] * 1000)
    predict.monitor._lock.release()
    assert predict.monitor.snapshot().dropped == 1
    predict.monitor.close()


def test_rate_of_a_client_that_left_falls_although_nobody_calls() -> None:
    now = [1000.0]
    predict = monitored("left", client=str, rules=[], clock=lambda: now[0])(lambda x: x)
    flood(predict, 300, "bot")
    assert rate("left") == 5.0
    now[0] += 3600
    assert rate("left") == 0.0
    predict.monitor.close()


def test_snapshot_is_taken_while_the_worker_changes_what_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = monitored("busy")(lambda x: x)
    real, tries = BaselineDetector.confidence, [0]

    def confidence(watch: BaselineDetector) -> float | None:
        tries[0] += 1
        if tries[0] < 5:
            raise RuntimeError("deque mutated during iteration")
        return real.fget(watch)  # type: ignore[misc] # the property's own function

    monkeypatch.setattr(BaselineDetector, "confidence", property(confidence))
    assert predict.monitor.snapshot().confidence is None
    assert tries == [5]
    predict.monitor.close()


def test_snapshots_of_other_threads_never_fail_under_load() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4))
    baseline = Baseline.fit(rows, np.tile(ANSWER, (500, 1)))
    predict = monitored("looked-at", baseline=baseline, client=lambda i: f"c{i % 50}",
                        inputs=lambda i: rows[i % 500])(lambda _: ANSWER)  # fmt: skip
    stop, errors = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            try:
                predict.monitor.snapshot().to_dict()
            except Exception as error:  # noqa: BLE001 - any failure fails the test
                errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for i in range(4000):
            predict(i)
        assert predict.monitor.flush(20)
    finally:
        stop.set()
        watcher.join()
        sys.setswitchinterval(before)
    assert errors == []
    predict.monitor.close()


def test_quota_of_a_forked_child_does_not_wait_for_a_thread_that_is_gone() -> None:
    quota = Quota("5/hour")
    quota.check("ann", 1)
    assert quota._seen is not None
    quota._seen._lock.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(flood(quota.check, 7, "ann", 1))
    quota._seen._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def test_call_inside_a_sink_does_not_deadlock() -> None:
    inner = monitored("inner", capacity=4)(lambda x: x)
    outer = monitored(
        "outer",
        capacity=2,
        sinks=[
            lambda alert: (inner(alert), outer(1), outer.monitor.snapshot(), inner.monitor.flush(1))
        ],
    )(lambda x: x)
    outer.monitor._lock.acquire()
    flood(outer, 9, 1)
    outer.monitor._lock.release()
    assert outer.monitor.flush(5)
    assert inner.monitor.snapshot().calls == 1
    assert outer.monitor.snapshot().calls == 10
    for each in (inner, outer):
        each.monitor.close()
