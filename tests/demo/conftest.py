from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run of the whole command: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    finished = subprocess.run(
        [sys.executable, "-m", "mlsecops", "demo", "--out", str(out), "--seed", "0"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return out, finished.stdout
