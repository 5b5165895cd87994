"""Numbers of a service of several processes, and alerts at its end.

    python -m benchmarks service

Real uvicorn and gunicorn serve one application. Each scrape of any worker is compared with the
calls that were sent, also right after a worker was killed (SIGKILL) and replaced. Then a server is
ended by SIGTERM while it answers the request that raises an alert.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

APP = """
import os, time
import numpy as np, prometheus_client
from mlsecops import Baseline, monitored
from mlsecops.integrations.prometheus import collector

rng = np.random.default_rng(0)
baseline = Baseline.fit(rng.normal(size=(2000, 4)), None)
def sink(alert):
    with open(os.environ["SEEN"], "a") as file: file.write(f"{alert.rule} {alert.id}\\n")
@monitored("svc", baseline=baseline, sinks=[sink])
def predict(rows): return None

registry = prometheus_client.CollectorRegistry()
registry.register(collector())
def answer(path):
    if path == "/p":
        predict(rng.normal(size=(1, 4)))
    elif path == "/drift":
        predict(rng.normal(3, 1, size=(512, 4)))
    elif path == "/slow":
        for _ in range(10):
            predict(rng.normal(size=(1, 4)))
            time.sleep(0.05)
        predict(rng.normal(3, 1, size=(512, 4)))
    return str(os.getpid()).encode()
def page(): return prometheus_client.generate_latest(registry)

async def asgi(scope, receive, send):
    import asyncio
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"): return
    path = scope["path"]
    body = page() if path == "/metrics" else await asyncio.to_thread(answer, path)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    body = page() if path == "/metrics" else answer(path)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
UVICORN = ["uvicorn", "many:asgi", "--log-level", "critical", "--port"]
GUNICORN = ["gunicorn", "-c", "python:mlsecops.integrations.gunicorn", "many:wsgi", "--preload",
            "--log-level", "critical", "-w", "4", "-b"]  # fmt: skip
SERVERS = {
    "uvicorn, 2 workers": [*UVICORN, "{port}", "--workers", "2"],
    "uvicorn, 4 workers": [*UVICORN, "{port}", "--workers", "4"],
    "gunicorn --preload, 4 workers": [*GUNICORN, "127.0.0.1:{port}"],
}
CALLS, SCRAPES, ENDS, TRIES = 400, 20, 20, 300


def get(port: int, path: str) -> bytes:
    """The body of a page, over a connection of its own, so that any worker may answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


@contextlib.contextmanager
def served(command: list[str]) -> Iterator[tuple[int, subprocess.Popen[bytes], Path]]:
    """Port and process of a running server, and the file of the alerts that arrived."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        Path(folder, "many.py").write_text(APP)
        seen = Path(folder, "seen")
        seen.touch()
        path = os.pathsep.join([folder, str(Path(__file__).parents[1])])
        more = {"PROMETHEUS_MULTIPROC_DIR": f"{folder}/many", "SEEN": str(seen), "PYTHONPATH": path}
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=folder,
            env={**os.environ, **more, "OMP_NUM_THREADS": "1"},
        )
        try:
            for _ in range(TRIES):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    get(port, "/ready")
                    break
                time.sleep(0.2)
            yield port, process, seen
        finally:
            process.terminate()
            process.wait(60)


def scraped(port: int, pattern: str) -> float:
    """A number on the page, summed over its series."""
    page = get(port, "/metrics").decode()
    return sum(float(each) for each in re.findall(rf"^{pattern}\S* (\S+)$", page, re.MULTILINE))


def numbers(name: str, command: list[str]) -> None:
    """Calls sent beside calls on each page, before and after a worker is killed."""
    with served(command) as (port, _, seen):
        time.sleep(3)
        pids = {int(get(port, "/p")) for _ in range(CALLS)}
        wrong = sum(
            scraped(port, "mlsecops_inference_calls_total") != CALLS for _ in range(SCRAPES)
        )
        os.kill(min(pids), signal.SIGKILL)
        sent, lost = CALLS, 0
        time.sleep(3)
        while sent < 2 * CALLS:
            try:
                get(port, "/p")
                sent += 1
            except (OSError, http.client.HTTPException):
                lost += 1
        again = sum(scraped(port, "mlsecops_inference_calls_total") != sent for _ in range(SCRAPES))
        for _ in range(12):
            get(port, "/drift")
        time.sleep(1.5)
        gauges = {scraped(port, "mlsecops_drift_features") for _ in range(SCRAPES)}
        alerts = [line for line in seen.read_text().splitlines() if line.startswith("drift")]
        print(
            f"{name:32} {len(pids)} workers, {sent} calls sent; wrong scrapes {wrong} of "
            f"{SCRAPES}, after a kill {again} of {SCRAPES}; drifted features {sorted(gauges)}; "
            f"drift alerts {len(alerts)}",
            flush=True,
        )


def ends(name: str, command: list[str]) -> None:
    """Alerts of requests that were answered while the server ended."""
    answered = lost = 0
    for _ in range(ENDS):
        with served(command) as (port, process, seen):
            got: list[bytes] = []

            def ask(port: int = port, got: list[bytes] = got) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    got.append(get(port, "/slow"))

            client = threading.Thread(target=ask)
            client.start()
            time.sleep(0.25)
            process.send_signal(signal.SIGTERM)
            client.join()
            process.wait(60)
            answered += bool(got and json.loads(got[0]))
            lost += bool(got) and "drift" not in seen.read_text()
    print(f"{name:32} {answered} of {ENDS} answered, alerts lost {lost}", flush=True)


def main() -> None:
    for name, command in SERVERS.items():
        numbers(name, command)
    ends("uvicorn, SIGTERM", [*UVICORN, "{port}"])
    ends("gunicorn, SIGTERM", [*GUNICORN[:-3], "-w", "2", "-b", "127.0.0.1:{port}"])


if __name__ == "__main__":
    main()
