"""State that a process publishes: what it says to others, and what no failure of it may end."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import monitored
from mlsecops.monitoring import Baseline
from mlsecops.monitoring.aggregation import Aggregation
from mlsecops.monitoring.clients import ClientTraffic
from mlsecops.monitoring.service.folder import ServiceFolder
from mlsecops.monitoring.service.merge import joined
from mlsecops.monitoring.service.processes import publish
from mlsecops.monitoring.service.publication import Publication
from mlsecops.monitoring.service.state import ProcessState, WindowState
from mlsecops.monitoring.service_view import service_snapshot
from mlsecops.monitoring.telemetry.exporter import series_of

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("folder")
def test_publication_that_fails_ends_no_worker_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def shared(self) -> Any:
            raise RuntimeError("deque mutated during iteration")

    sources: list[Any] = series_of("broken").sources
    sources.append(Broken())
    publication = Publication()
    with caplog.at_level(logging.WARNING, "mlsecops.monitoring"):
        for _ in range(3):
            publication.dirty = True
            publication.publish(now=True)
    sources.clear()
    assert caplog.text.count("not published: RuntimeError") == 1


def test_window_that_the_worker_changes_meanwhile_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict, tries = monitored("again")(len), iter([True, True, False])

    def shared(*_: Any) -> WindowState:
        if next(tries):
            raise RuntimeError("deque mutated during iteration")
        return WindowState()

    with monkeypatch.context() as patched:
        patched.setattr(Aggregation, "shared", shared)
        assert predict.monitor.shared().facts == {}
    predict.monitor.close()


def test_slot_that_another_thread_removed_is_no_error() -> None:
    class Faster(dict[int, int]):
        def __iter__(self) -> Any:
            yield from list(super().__iter__())
            self.clear()

    assert ClientTraffic(slots=Faster({0: 60})).current(1000.0) == 0.0


def test_rate_of_a_client_falls_though_its_process_publishes_nothing_more() -> None:
    now = [1000.0]
    predict = monitored("idle", client=str, clock=lambda: now[0])(len)
    for _ in range(600):
        predict("ann")
    predict.monitor.flush()
    published = [predict.monitor.shared()]
    predict.monitor.close()
    assert joined(published, 1030.0)["mlsecops.client.rate"] == {(): 10.0}
    assert joined(published, 1061.0)["mlsecops.client.rate"] == {}


def test_expected_loss_is_that_of_all_answers() -> None:
    answers = RNG.uniform(size=(400, 3))
    truth = RNG.uniform(size=(400, 3)) < answers
    rows = RNG.normal(size=(400, 2))
    baseline = Baseline.fit(rows, answers, truth)
    monitors = []
    for name, given in (("sure", np.full((64, 3), 0.99)), ("unsure", np.full((128, 3), 0.5))):
        predict = monitored(name, baseline=baseline, inputs=lambda x: rows[: len(x)])(lambda x: x)
        predict(given)
        predict.monitor.flush()
        monitors.append(predict.monitor)
    one, two = monitors
    own, other = (each.snapshot().expected_loss for each in monitors)
    assert own is not None
    assert other is not None
    points = one.joined([two.shared()])["mlsecops.model.loss.expected"]
    assert points == {(): pytest.approx((own + other) / 2)}  # at most 64 rows of each batch
    assert other > 2 * own
    for each in monitors:
        each.close()


def test_live_state_has_the_unread_calls_of_other_processes(folder: Path) -> None:
    predict = monitored("unread-there", baseline=Baseline.fit(RNG.normal(size=(99, 2))))(id)
    other = ServiceFolder(str(folder))
    points: Any = {
        "mlsecops.input.unread": {(): 7.0},
        "mlsecops.answers.unread": {(): 5.0},
        "mlsecops.model.loss.expected": {(): 0.25},
    }
    publish(other, ProcessState({"unread-there": points}))
    state = service_snapshot(predict.monitor)
    assert (state["unread_inputs"], state["unread_answers"]) == (7, 5)
    assert state["expected_loss"] == 0.25
    predict.monitor.close()
    other.leave()


def test_score_without_bound_leaves_no_process_out() -> None:
    score: Any = {"mlsecops.extraction.score": {(): math.inf}}
    window = WindowState({"suspects": [[1, {"mlsecops.extraction.score": math.inf}, 0.0]]})
    state = ProcessState({"m": score}, {"m": window})
    read = ProcessState.from_bytes(state.to_bytes())
    assert read.points["m"] == score
    assert joined([read.windows["m"]], 0.0)["mlsecops.extraction.score"] == {(): math.inf}


def test_lock_is_free_when_it_is_let_go_though_a_forked_child_has_a_copy(tmp_path: Path) -> None:
    folder = ServiceFolder(str(tmp_path))
    with folder.locked():
        child = os.fork()
        if child == 0:
            signal.pause()
    descriptor = os.open(tmp_path / "mlsecops.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        folder.leave()
