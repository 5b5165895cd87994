"""Processes of one service, each told by its standard input what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MEMBER = """
import os, sys
import numpy as np
from mlsecops import monitored
from mlsecops.monitoring import Baseline
rows = np.random.default_rng(0).normal(size=(600, 3))
def say(line):  # in one piece: the worker's thread speaks too
    os.write(1, f"{line}\\n".encode())
def sink(alert):
    say(f"alert {alert.rule} {alert.state} {alert.id}")
made = {}
def predict(name):
    if name not in made:
        made[name] = monitored(
            name, baseline=Baseline.fit(rows), client=lambda _, who: who,
            request_id=lambda *_: "id", sinks=[sink],
        )(fail)
    return made[name]
def fail(x, who):
    if who == "error":
        raise ValueError
for line in sys.stdin:
    what, name, *rest = line.split()
    if what == "calls":
        for _ in range(int(rest[0])):
            try: predict(name)(np.zeros((1, 3)), rest[1])
            except ValueError: pass
    elif what == "rows":
        seed, shift, count = (float(each) for each in rest)
        more = np.random.default_rng(int(seed)).normal(shift, 1, size=(int(count), 3))
        predict(name)(more, "c")
    elif what in ("predict", "label"):
        if name not in made:
            made[name] = monitored(name, request_id=str)(lambda _: np.array([0.1, 0.9]))
        for each in range(int(rest[0]), int(rest[1])):
            if what == "predict": made[name](each)
            else: made[name].monitor.record_label(each, each % 5 > 0)
    elif what == "settle":
        predict(name).monitor.flush(10)
        from mlsecops.monitoring.worker import worker
        worker.publication.publish(now=True)
    say("done")
"""


class Member:
    """One process of a service."""

    def __init__(self, folder: Path, code: str = MEMBER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": ".",
                "OMP_NUM_THREADS": "1",
                "PROMETHEUS_MULTIPROC_DIR": str(folder),
            },
        )

    def do(self, *words: Any) -> list[str]:
        """Let it do something; returns the lines that it printed meanwhile."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        lines: list[str] = []
        while (line := self.process.stdout.readline().strip()) != "done":
            assert self.process.poll() is None, "the member ended"
            lines.append(line)
        return lines

    def end(self) -> None:
        """Let it exit by itself."""
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.communicate(timeout=30)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a service to which this process belongs too."""
    place = tmp_path / "service"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(place))
    return place


@pytest.fixture
def member(folder: Path) -> Iterator[Callable[[], Member]]:
    """Starts processes of the service, and ends those that are left."""
    started: list[Member] = []

    def start() -> Member:
        started.append(Member(folder))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()
