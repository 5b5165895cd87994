"""Ends of a process: whatever ends it, the alerts of answered calls arrive."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from mlsecops import monitored
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import AlertRule, Lifespan, finish, lifespan, worker
from tests.services import eventually

RULES = [
    AlertRule(
        id="seen",
        metric="mlsecops.inference.calls",
        comparison=">",
        threshold=0,
        severity=Severity.LOW,
        message="A call was seen.",
    )
]
SETUP = """
import os, signal, sys, time
from mlsecops import monitored
from mlsecops.findings import Severity
from mlsecops.monitoring import AlertRule
rule = AlertRule(id="seen", metric="mlsecops.inference.calls", comparison=">", threshold=0,
                 severity=Severity.LOW, message="A call was seen.")
def sink(alert):
    with open(os.environ["SEEN"], "a") as file:
        file.write(alert.rule + "\\n")
def served():
    return monitored("end", rules=[rule], sinks=[sink])(lambda x: x)
"""


def ended(code: str, seen: Path, *, patience: float = 30) -> int:
    """How a fresh interpreter ends."""
    return subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)],
        check=False,
        timeout=patience,
        env={**os.environ, "PYTHONPATH": ".", "SEEN": str(seen)},
    ).returncode


@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param(
            "predict = served(); predict(1); signal.raise_signal(signal.SIGTERM)",
            -signal.SIGTERM,
            id="default action",
        ),
        pytest.param(
            # As uvicorn does: a handler of its own, then the default action once it is done.
            """
            signal.signal(signal.SIGTERM, lambda *_: None)
            predict = served()
            signal.raise_signal(signal.SIGTERM)
            predict(1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
            """,
            -signal.SIGTERM,
            id="call after the signal",
        ),
        pytest.param(
            """
            def leave(*_): sys.exit(3)
            signal.signal(signal.SIGTERM, leave)
            predict = served(); predict(1)
            signal.raise_signal(signal.SIGTERM)
            """,
            3,
            id="handler that exits",
        ),
        pytest.param(
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            predict = served()
            signal.raise_signal(signal.SIGTERM)
            predict(1)
            """,
            0,
            id="ignored signal",
        ),
        pytest.param(
            """
            import multiprocessing
            predict = served()
            def work(ready):
                predict(1); ready.set(); time.sleep(60)
            context = multiprocessing.get_context("fork")
            ready = context.Event()
            child = context.Process(target=work, args=(ready,))
            child.start(); ready.wait()
            child.terminate()  # as Pool.terminate does
            child.join()
            os._exit(0)
            """,
            0,
            id="child that is terminated",
        ),
    ],
)
def test_sigterm_loses_no_alert_and_ends_as_it_would(
    code: str, status: int, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    assert ended(code, seen) == status
    assert seen.read_text().split() == ["seen"]


def test_sigterm_ends_a_process_whose_sink_hangs(tmp_path: Path) -> None:
    code = """
    predict = monitored("end", rules=[rule], sinks=[lambda _: time.sleep(60)])(lambda x: x)
    predict(1)
    signal.raise_signal(signal.SIGTERM)
    """
    assert ended(code, tmp_path / "seen", patience=15) == -signal.SIGTERM


def test_monitor_without_sinks_leaves_the_handler_of_sigterm_alone(tmp_path: Path) -> None:
    code = """
    monitored("quiet")(lambda x: x)(1)
    sys.exit(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL)
    """
    assert ended(code, tmp_path / "seen") == 0


def test_lifespan_delivers_at_its_end_and_keeps_the_state_of_another() -> None:
    told: list[Alert] = []
    order: list[str] = []
    predict = monitored("lifespan", rules=RULES, sinks=[told.append])(lambda x: x)

    @asynccontextmanager
    async def other(app: str) -> AsyncIterator[dict[str, str]]:
        yield {"app": app}
        predict(1)  # the shutdown of the application itself may still call the model
        order.append("other")

    async def served() -> None:
        async with lifespan.around(other)("app") as state:
            assert state == {"app": "app"}
            assert told == []
        async with lifespan("app"):
            pass

    asyncio.run(served())
    assert [alert.rule for alert in told] == ["seen"]
    predict.monitor.close()


def test_lifespan_finishes_after_an_application_that_failed() -> None:
    told: list[Alert] = []
    predict = monitored("failing", rules=RULES, sinks=[told.append])(lambda x: x)

    async def served() -> None:
        async with lifespan("app"):
            predict(1)
            raise KeyError("app")

    with pytest.raises(KeyError):
        asyncio.run(served())
    assert len(told) == 1
    predict.monitor.close()


def test_finish_says_whether_something_waits_and_monitors_go_on() -> None:
    told: list[Alert] = []
    predict = monitored("finish", rules=RULES, sinks=[told.append])(lambda x: x)
    predict(1)
    assert finish(10)
    assert len(told) == 1
    predict(np.zeros(3))
    assert finish(10)
    assert predict.monitor.snapshot().processed == 2
    predict.monitor._lock.acquire()
    predict(1)
    assert not finish(0)
    predict.monitor._lock.release()
    predict.monitor.close()
    for wrong in (-1, "1", None):
        with pytest.raises(UsageError, match="timeout"):
            finish(wrong)  # type: ignore[arg-type] # wrong on purpose
        with pytest.raises(UsageError, match="timeout"):
            Lifespan(timeout=wrong)  # type: ignore[arg-type] # as above


def test_worker_that_sleeps_resolves_what_time_alone_ends() -> None:
    told: list[Alert] = []
    rule = AlertRule(
        id="burst",
        metric="mlsecops.client.rate",
        comparison=">",
        threshold=0,
        severity=Severity.LOW,
        message="m",
        cooldown=0.2,
    )
    predict = monitored("sleeping", client=str, rules=[rule], sinks=[told.append])(lambda x: x)
    predict("a")
    eventually(lambda: [each.state for each in told] == ["firing", "resolved"], "a resolved alert")
    predict.monitor.close()


def test_signal_while_a_call_wakes_the_worker_does_not_wait_for_that_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = worker.Worker()
    # A handler runs between any two steps of the main thread, and inside the lock too.
    monkeypatch.setattr(worker, "_finish_with_the_process", lambda _: own.end())
    caller = threading.Thread(target=own.wake, daemon=True)
    caller.start()
    caller.join(10)
    assert not caller.is_alive()
