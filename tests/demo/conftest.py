from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """One run of the whole command, for all workers: its folder, and what it printed."""
    own = tmp_path_factory.getbasetemp()
    place = (own if worker_id == "master" else own.parent) / "demo"
    place.mkdir(exist_ok=True)
    printed = place / "printed.txt"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(whole_run(place / "out"))
    return place / "out", printed.read_text()


def whole_run(out: Path) -> str:
    """What the command printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "mlsecops", "demo", "--out", str(out), "--seed", "0"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout
