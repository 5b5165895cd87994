"""Real gunicorn and uvicorn with several workers: one page, and no alert lost at their end."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlsecops.integrations import gunicorn as hooks
from tests.services import eventually, free_port

APP = """
import os, time
import prometheus_client
from mlsecops import monitored
from mlsecops.findings import Severity
from mlsecops.integrations.prometheus import collector
from mlsecops.monitoring import AlertRule, lifespan

rule = AlertRule(id="last", metric="mlsecops.client.rate", comparison=">", threshold=0,
                 severity=Severity.LOW, message="The last request.")
def sink(alert):
    time.sleep(0.2)
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{alert.rule} {alert.client}\\n")
@monitored("svc", client=lambda path: path if path == "/last" else None, rules=[rule], sinks=[sink])
def predict(path):
    return path

registry = prometheus_client.CollectorRegistry()
registry.register(collector())
def answer(path):
    if path == "/metrics":
        return prometheus_client.generate_latest(registry)
    if path == "/last":
        time.sleep(0.5)
    predict(path)
    return str(os.getpid()).encode()
def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [answer(environ["PATH_INFO"])]
def asgi():
    from fastapi import FastAPI, Response
    app = FastAPI(lifespan=lifespan)
    @app.get("/{name}")
    def page(name: str):
        return Response(answer("/" + name))
    return app
"""
UVICORN = ["uvicorn", "--factory", "many:asgi", "--workers", "2", "--port", "{port}"]
GUNICORN = ["gunicorn", "-c", "python:mlsecops.integrations.gunicorn", "many:wsgi", "--preload",
            "-w", "3", "-b", "127.0.0.1:{port}"]  # fmt: skip


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def answers(port: int, path: str) -> str | None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(port, path)
    return None


@contextlib.contextmanager
def served(command: list[str], folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    (folder / "many.py").write_text(APP)
    (folder / "seen").touch()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(port=port) for part in command)],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "service"),
            "PYTHONPATH": os.pathsep.join([str(folder), str(Path.cwd())]),
            "SEEN": str(folder / "seen"),
        },
    )
    try:
        eventually(lambda: answers(port, "/ready"), command[0])
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


def counted(port: int) -> float:
    page = get(port, "/metrics")
    return sum(
        float(each) for each in re.findall(r"\nmlsecops_inference_calls_total\S* (\S+)", page)
    )


@pytest.mark.parametrize("command", [UVICORN, GUNICORN], ids=lambda command: command[0])
def test_service_of_several_workers_has_one_page_and_loses_no_alert(
    command: list[str], tmp_path: Path
) -> None:
    with served(command, tmp_path) as (port, process):
        sent, pids = int(counted(port)), set[str]()
        while len(pids) < 2:
            pids.add(get(port, "/call"))
            sent += 1
        assert {counted(port) for _ in range(5)} == {sent}
        os.kill(int(min(pids)), signal.SIGKILL)
        time.sleep(0.2)
        while answers(port, "/metrics") is None:
            time.sleep(0.1)
        assert counted(port) == sent
        last = threading.Thread(target=get, args=(port, "/last"))
        last.start()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        last.join()
        process.wait(30)
    assert (tmp_path / "seen").read_text().split("\n") == ["last /last", ""]


def test_hooks_say_what_they_could_not_finish(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = logging.getLogger("gunicorn.error")
    server: Any = SimpleNamespace(cfg=SimpleNamespace(workers=3, graceful_timeout=30), log=log)
    worker: Any = SimpleNamespace(log=log, pid=12345)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with caplog.at_level(logging.WARNING, "gunicorn.error"):
        hooks.on_starting(server)
        assert "one of 3 workers" in caplog.text
        hooks.worker_exit(server, worker)
        hooks.worker_abort(worker)
        assert "not everything" not in caplog.text
        monkeypatch.setattr(hooks, "finish", lambda _: False)
        hooks.worker_exit(server, worker)
        hooks.worker_abort(worker)
    assert caplog.text.count("not everything") == 2
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    gauge = tmp_path / "gauge_liveall_12345.db"
    gauge.touch()
    hooks.child_exit(server, worker)
    assert not gauge.exists()
