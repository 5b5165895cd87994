"""Redis, Alertmanager and Prometheus servers on free loopback ports, for the time of a `with`."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import program

_PATIENCE = 60.0  # seconds; chosen: a server starts on a busy machine


def free_port() -> int:
    """An unused loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], object], what: str, *, patience: float = _PATIENCE) -> None:
    """Wait until a condition holds, at most `patience` seconds."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience:.0f} s")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether a server listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


def ready(url: str) -> bool:
    """Whether a URL answers with status 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
        return bool(answer.status == 200)
    return False


@contextlib.contextmanager
def serving(
    command: list[str], port: int, *, patience: float = _PATIENCE
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that listens on a port within `patience` seconds; terminate it afterwards."""
    with tempfile.TemporaryFile() as output:  # a pipe that nobody reads would stop the server
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(
                lambda: answers(port) or process.poll() is not None, command[0], patience=patience
            )
            if process.poll() is not None:
                output.seek(0)
                raise AssertionError(output.read(4000) or command)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """An empty Redis without persistence; yields its address."""
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--save", "", "--appendonly", "no"]
    with serving([*command, "--bind", "127.0.0.1"], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def alertmanager(config: Path, folder: Path) -> Iterator[str]:
    """Alertmanager with a configuration; yields its address."""
    port = free_port()
    command = [
        program("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with serving(command, port):
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: ready(f"{address}/-/ready"), f"{command[0]} is ready")
        yield address


@contextlib.contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[str]:
    """Prometheus with a configuration; yields its address."""
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with serving(command, port):
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: ready(f"{address}/-/ready"), f"{command[0]} is ready")
        yield address
