from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.monitoring import Baseline, Observed, RateLimit, Reading, monitored
from mlsecops.monitoring.queue import CallQueue, CallRecord, Label, held_bytes
from mlsecops.monitoring.worker import worker
from tests.attackers.monitoring import BrokenDetector, flood

UNIFORM = np.array([0.5, 0.5])


def settled(function: object) -> object:
    """State after a flush, in which every call is accounted for."""
    monitor = function.monitor  # type: ignore[attr-defined] # a monitored function
    assert monitor.flush(5)
    state = monitor.snapshot()
    assert state.calls == state.processed + state.dropped
    return state


def test_plain_function_keeps_signature_result_and_exception() -> None:
    @monitored("plain")
    def predict(x: int, *, scale: int = 1) -> int:
        """Predicts."""
        return 10 // x * scale

    assert predict(5, scale=3) == 6
    with pytest.raises(ZeroDivisionError):
        predict(0)
    assert str(inspect.signature(predict)) == "(x: 'int', *, scale: 'int' = 1) -> 'int'"
    assert predict.__doc__ == "Predicts."
    state = settled(predict)
    assert (state.calls, state.failures) == (2, 0)
    predict.monitor.close()


def test_async_function_keeps_kind_context_and_cancellation() -> None:
    request = contextvars.ContextVar("request", default="none")

    @monitored("async")
    async def predict(x: float) -> str:
        await asyncio.sleep(x)
        return request.get()

    async def one(i: int) -> str:
        request.set(f"r{i}")
        return await predict(0.001)

    async def main() -> None:
        assert await asyncio.gather(*(one(i) for i in range(50))) == [f"r{i}" for i in range(50)]
        task = asyncio.create_task(predict(60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert inspect.iscoroutinefunction(predict)
    asyncio.run(main())
    assert settled(predict).calls == 51
    predict.monitor.close()


def test_generator_keeps_send_throw_and_return() -> None:
    @monitored("generator")
    def steps(x: int) -> Iterator[int]:
        got = yield x
        try:
            yield got
        except KeyError:
            yield -1
        return 7

    assert inspect.isgeneratorfunction(steps)
    running = steps(1)
    assert next(running) == 1
    assert running.send(5) == 5
    assert running.throw(KeyError()) == -1
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == 7
    abandoned = steps(1)
    next(abandoned)
    abandoned.close()
    never_started = steps(1)
    del never_started
    assert settled(steps).calls == 2
    steps.monitor.close()


def test_async_generator_keeps_asend_athrow_and_aclose() -> None:
    closed = []

    @monitored("async-generator")
    async def steps(x: int) -> AsyncIterator[int]:
        try:
            got = yield x
            try:
                yield got
            except KeyError:
                yield -1
        finally:
            closed.append(True)

    async def main() -> None:
        running = steps(1)
        assert await anext(running) == 1
        assert await running.asend(5) == 5
        assert await running.athrow(KeyError()) == -1
        assert [item async for item in running] == []
        abandoned = steps(1)
        await anext(abandoned)
        await abandoned.aclose()

    assert inspect.isasyncgenfunction(steps)
    asyncio.run(main())
    assert closed == [True, True]
    assert settled(steps).calls == 2
    steps.monitor.close()


def test_generator_duration_runs_from_its_first_step_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0]
    monkeypatch.setattr("time.perf_counter_ns", lambda: now[0])
    seen: list[CallRecord] = []
    monkeypatch.setattr(CallQueue, "append", lambda _, event, _size: seen.append(event))

    @monitored("slow")
    def steps() -> Iterator[int]:
        now[0] += 2 * 10**9
        yield 1

    running = steps()
    now[0] += 10**9
    assert list(running) == [1]
    assert seen[0].seconds == pytest.approx(2.0)
    steps.monitor.close()


def test_methods_of_all_kinds_are_watched_and_self_is_not_the_input() -> None:
    seen: list[np.ndarray] = []

    class Spy:
        def check(self, client: str | None, inputs: np.ndarray) -> None:
            seen.append(inputs)
            assert client == "c"

    def client(*_: object, who: str, **__: object) -> str:
        return who

    watch = lambda name: monitored(name, guards=[Spy()], client=client)  # noqa: E731 - one line for three uses

    class Model:
        @watch("method")
        def predict(self, x: np.ndarray, **_: str) -> np.ndarray:
            return x

        @watch("static")
        @staticmethod
        def fixed(x: np.ndarray, **_: str) -> np.ndarray:
            return x

        @watch("class")
        @classmethod
        def of(cls, x: np.ndarray, **_: str) -> np.ndarray:
            return x

        @staticmethod
        @watch("inside")
        def inside(x: np.ndarray, **_: str) -> np.ndarray:
            return x

    model = Model()
    for bound in (model.predict, model.fixed, Model.fixed, model.of, Model.of, model.inside):
        assert bound(UNIFORM, who="c") is UNIFORM
    assert model.predict(x=UNIFORM, who="c") is UNIFORM
    assert all(each is UNIFORM for each in seen)
    assert settled(Model.predict).calls == 2
    for each in (Model.predict, Model.fixed, Model.of, Model.inside):
        each.monitor.close()


def test_full_queue_counts_what_it_drops_and_raises_an_alert() -> None:
    alerts = []

    @monitored("small", capacity=8, sinks=[alerts.append])
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    predict.monitor._lock.acquire()  # the worker is kept away
    flood(predict, 100, UNIFORM)
    predict.monitor._lock.release()
    state = settled(predict)
    assert (state.calls, state.processed, state.dropped) == (100, 8, 92)
    assert [(alert.rule, alert.reading) for alert in alerts] == [("dropped", 92)]
    predict.monitor.close()


def test_queue_is_bounded_in_bytes_as_well() -> None:
    queue = CallQueue(10_000, max_bytes=100)
    event = CallRecord(0.0, 0.0, "ok", "", None, None, None, None)
    for _ in range(10):
        queue.append(event, 30)
    assert (queue.calls, queue.dropped, len(queue)) == (10, 7, 3)
    assert len(queue.take(100)) == 3
    queue.append(event, 100)
    assert queue.dropped == 7
    queue = CallQueue(10_000, max_bytes=100)
    assert queue.append_label(Label("a", np.zeros(12), 0.0))
    assert not queue.append_label(Label("b", np.zeros(12), 0.0))
    assert len(queue.take(100)) == 1
    assert queue.append_label(Label("b", np.zeros(12), 0.0))


def test_threads_lose_no_call() -> None:
    @monitored("threads", capacity=1000)
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    threads = [threading.Thread(target=flood, args=(predict, 2000, UNIFORM)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settled(predict).calls == 8000
    predict.monitor.close()


def test_failures_of_taps_detectors_and_copies_are_swallowed_and_counted() -> None:
    class Stubborn(list):  # type: ignore[type-arg] # what it holds does not matter
        def copy(self) -> Stubborn:
            raise MemoryError

    result = Stubborn([0.5, 0.5])

    @monitored("broken", client=lambda _: 1 / 0, detectors=[BrokenDetector()])
    def predict(_x: object) -> object:
        return result

    assert predict(UNIFORM) is result
    assert settled(predict).failures == 3
    good = monitored("broken2", detectors=[BrokenDetector()])(lambda x: x)
    assert good(UNIFORM) is UNIFORM
    assert settled(good).failures == 1
    good.monitor.close()
    predict.monitor.close()


def test_arrays_that_the_caller_reuses_are_seen_as_they_were() -> None:
    baseline = Baseline.fit(np.random.default_rng(0).normal(size=(500, 2)), None)

    @monitored("reuse", baseline=baseline)
    def predict(_x: np.ndarray) -> np.ndarray:
        return np.array([0.9, 0.1])

    buffer = np.zeros(2)
    predict.monitor._lock.acquire()
    answer = predict(buffer)
    buffer[:] = np.nan
    answer[:] = 0.5
    predict.monitor._lock.release()
    state = settled(predict)
    assert state.confidence == pytest.approx(0.9)
    assert state.profile.missing.tolist() == [0, 0]
    predict.monitor.close()


def test_raw_inputs_are_gone_once_they_are_aggregated() -> None:
    marker = 1234.5678

    class Rows(np.ndarray):
        pass

    @monitored("forget", baseline=Baseline.fit(np.random.default_rng(0).random((50, 3)), None))
    def predict(_x: np.ndarray) -> None:
        return None

    predict(np.full((4, 3), marker).view(Rows))
    settled(predict)
    gc.collect()
    alive = [each for each in gc.get_objects() if isinstance(each, np.ndarray)]
    assert not any(each.dtype == float and (each == marker).any() for each in alive)
    predict.monitor.close()


@pytest.mark.parametrize(
    "result", [None, "cat", 3, {"a": 1}, np.array([3, 1, 2]), np.array([0.2, 7.0]), object()]
)
def test_results_that_are_no_probabilities_are_only_counted(result: object) -> None:
    predict = monitored("plain-result")(lambda _x: result)
    assert predict(np.ones(3)) is result
    state = settled(predict)
    assert (state.processed, state.failures, state.confidence) == (1, 0, None)
    predict.monitor.close()


@pytest.mark.parametrize(
    ("shape", "rows"), [((8, 8), 1), ((64,), 1), ((5, 8, 8), 5), ((5, 64), 5), ((1, 8, 8), 1)]
)
def test_single_inputs_and_batches_of_images_become_rows(shape: tuple[int, ...], rows: int) -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(rng.random((100, 8, 8)), rng.dirichlet([1, 1], 100))
    answer = UNIFORM if rows == 1 else np.tile(UNIFORM, (rows, 1))
    predict = monitored("shapes", baseline=baseline, client=lambda _: "c")(lambda _: answer)
    predict(rng.random(shape))
    state = settled(predict)
    assert (state.profile.count, state.clients["c"].rows, state.failures) == (rows, rows, 0)
    predict.monitor.close()


def test_closed_monitor_counts_later_calls_as_dropped() -> None:
    predict = monitored("closed")(lambda x: x)
    predict(1)
    predict.monitor.close()
    assert predict(2) == 2
    state = settled(predict)
    assert (state.calls, state.processed, state.dropped) == (2, 1, 1)


def test_labels_by_request_and_by_row_give_the_accuracy() -> None:
    @monitored("labels", request_id=lambda _, ids: ids)
    def predict(x: np.ndarray, _ids: object) -> np.ndarray:
        return x

    predict.monitor.record_label("early", 0)
    predict(np.array([0.9, 0.1]), "early")
    predict(np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"])
    predict.monitor.record_label("a", 1)
    predict.monitor.record_label("b", 1)
    predict.monitor.record_label("never", 1)
    assert settled(predict).accuracy == pytest.approx(2 / 3)
    predict.monitor.close()


def test_empty_name_and_no_room_are_refused() -> None:
    with pytest.raises(UsageError):
        monitored("")
    with pytest.raises(UsageError):
        monitored("x", capacity=0)(lambda x: x)


def test_forked_child_counts_from_zero_and_its_worker_runs() -> None:
    predict = monitored("fork", guards=[RateLimit(10_000)])(lambda x: x)
    stop = threading.Event()

    def make_noise() -> None:
        while not stop.is_set():
            flood(predict, 10, 1)

    noise = threading.Thread(target=make_noise)
    predict(1)
    noise.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                # A child that hangs is ended by the alarm, and its status is not 0.
                signal.alarm(10)
                for _ in range(5):
                    predict(1)
                for _ in range(100):
                    if predict.monitor.snapshot().processed == 5:
                        os._exit(0)
                    threading.Event().wait(0.05)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        noise.join()
    settled(predict)
    predict.monitor.close()


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    return done.stdout + done.stderr


def test_interpreter_exit_loses_nothing_and_does_not_hang() -> None:
    text = run(
        """
        import atexit
        @atexit.register
        def show(): print(predict.monitor.snapshot().processed)
        from mlsecops.monitoring import monitored
        predict = monitored("exit")(lambda x: x)
        for i in range(3000): predict(i)
        """
    )
    assert text == "3000\n"


def test_sink_that_hangs_does_not_keep_the_interpreter_alive() -> None:
    text = run(
        """
        import threading
        from mlsecops.monitoring import monitored
        stuck = lambda alert: threading.Event().wait()
        predict = monitored("hang", capacity=1, sinks=[stuck])(lambda x: x)
        for i in range(2000): predict(i)
        import time; time.sleep(0.3)
        print("done")
        """
    )
    assert text == "done\n"


def test_multiprocessing_child_aggregates_its_last_calls() -> None:
    text = run(
        """
        import multiprocessing, atexit
        from multiprocessing import util
        from mlsecops.monitoring import monitored
        predict = monitored("child")(lambda x: x)
        def work():
            show = lambda: print(predict.monitor.snapshot().processed, flush=True)
            util.Finalize(None, show, exitpriority=1)
            for i in range(500): predict(i)
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start(); process.join()
        """
    )
    assert text == "500\n"


def test_lists_and_text_count_against_the_queues_bytes_too() -> None:
    assert held_bytes([[1.0] * 10] * 100) >= 8 * 1000
    assert held_bytes(b"x" * 50) == held_bytes("x" * 50) == 50
    assert held_bytes(np.zeros(4)) == 32
    assert held_bytes(None) == 0
    seen: list[int] = []

    class Kept(CallQueue):
        def append(self, event: CallRecord, size: int) -> None:
            seen.append(size)
            super().append(event, size)

    @monitored("lists")
    def predict(rows: list[list[float]]) -> None:
        """Answer nothing."""

    predict.monitor._queue = Kept(10)
    predict([[0.0] * 1000] * 1000)
    predict.monitor.close()
    assert seen[0] >= 8_000_000


def test_what_arrives_while_the_background_works_waits_for_its_next_turn() -> None:
    """Taken at once, it would make tables of a few rows, each of which holds up callers."""
    sizes: list[int] = []

    class Busy:
        def observe(self, traffic: Observed) -> list[Reading]:
            sizes.append(len(traffic.rows))
            if len(sizes) < 3:
                serve(np.zeros(3))
            return []

    serve = monitored("busy", detectors=[Busy()])(lambda _: np.array([0.4, 0.6]))
    worker.remove(serve.monitor)
    for _ in range(10):
        serve(np.zeros(3))
    assert serve.monitor.drain() == "some"
    assert sizes == [10]
    assert serve.monitor.drain() == "some"
    assert sizes == [10, 1]
    serve.monitor.close()


@pytest.mark.parametrize(("calls", "turns"), [(300, [256, 44]), (500, [500])])
def test_few_calls_behind_a_full_batch_wait_for_the_next_turn(calls: int, turns: list[int]) -> None:
    serve = monitored(f"full {calls}")(lambda _: np.array([0.4, 0.6]))
    worker.remove(serve.monitor)
    for _ in range(calls):
        serve(np.zeros(3))
    for taken in turns:
        before = serve.monitor.snapshot().processed
        assert serve.monitor.drain() == "some"
        assert serve.monitor.snapshot().processed - before == taken
    assert serve.monitor.drain() == "nothing"
    serve.monitor.close()
