"""The public types hold, as mypy sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlsecops

ROOT = Path(mlsecops.__file__).parents[1]


def test_the_public_types_hold() -> None:
    file = Path(__file__).with_name("public_types.py").relative_to(ROOT)
    ran = subprocess.run(
        # with the options of `make lint`, whose cache makes this quick
        [sys.executable, "-m", "mypy", "--strict", str(file)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    told = ran.stdout.splitlines()
    # the library's own errors are told by its own check, and not once more here
    assert [line for line in told if line.startswith(str(file))] == []
    assert "checked 1 source file" in ran.stdout or "no issues found in 1" in ran.stdout, told
