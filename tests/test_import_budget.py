"""What `import mlsecops` costs a program that does not use it yet."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import mlsecops

HEAVY = ("numpy", "cryptography", "torch", "tensorflow", "keras", "opentelemetry", "sklearn")
BUDGET = 0.100  # seconds
RUNS = 7
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mlsecops.__file__).parents[1])}


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
    )


def test_the_import_brings_nothing_heavy() -> None:
    script = f"import sys, mlsecops; print([n for n in {HEAVY!r} if n in sys.modules])"
    assert python("-c", script).stdout == "[]\n"


def test_the_import_stays_within_its_budget() -> None:
    script = (
        "import time; start = time.perf_counter(); import mlsecops;"
        "print(time.perf_counter() - start)"
    )
    seconds = [float(python("-c", script).stdout) for _ in range(RUNS)]
    assert statistics.median(seconds) < BUDGET, seconds


def test_the_command_s_help_imports_no_room_of_the_library() -> None:
    script = "import sys; from mlsecops.cli import main; main(['--help'])"
    told = python("-X", "importtime", "-c", script).stderr
    rooms = set(re.findall(r"\|\s+(mlsecops\.[\w.]+)", told))
    assert rooms == {
        "mlsecops._lazy",
        "mlsecops.cli",
        "mlsecops.cli.main",
        "mlsecops.cli.terminal",
        "mlsecops.errors",
    }
