"""Scanners of language models run for real: garak by `run_garak`, PyRIT by its own classes.

garak's generator that repeats the prompt is attacked with two of its probes; an unknown probe has
to be an error. A target of PyRIT that repeats what it is asked takes part in a campaign of ours,
with PyRIT's jailbreak templates. Both live in environments of their own (`make peers`).

Run: python -m benchmarks scanners
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from mlsecops.errors import UsageError
from mlsecops.integrations.garak import run_garak
from mlsecops.llm import FuzzGate

HOME = Path(__file__).parent
GARAK, PYRIT = HOME / ".env-garak" / "bin" / "garak", HOME / ".env-pyrit" / "bin" / "python"
PROBES = ("encoding.InjectHex", "dan.Dan_11_0")


def garak(probes: tuple[str, ...]) -> None:
    """Run probes, and print figures, verdict and time, or the error."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = run_garak(
                GARAK, target_type="test.Repeat", target_name="repeat", probes=probes,
                out=Path(folder) / "run", generations=1, timeout=600,
            )  # fmt: skip
        except UsageError as error:
            print(f"garak {', '.join(probes)}: error: {str(error).replace(folder, '…')[:400]}")
            return
    for each in found.figures:
        print(f"garak {found.version} {each.name:44} {each.successes} of {each.attempts}")
    verdict = FuzzGate(max_success=0.05).judge(found).verdict
    print(f"gate: {verdict}; {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Run and print."""
    missing = [str(each.parents[1].name) for each in (GARAK, PYRIT) if not each.exists()]
    if GARAK.exists():
        garak(PROBES)
        garak(("nothing.Such",))
    if PYRIT.exists():
        script = HOME / "peers" / "pyrit_target.py"
        paths = {**os.environ, "PYTHONPATH": str(HOME.parent)}
        subprocess.run([PYRIT, script], env=paths, check=True)
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}; run `make peers`")


if __name__ == "__main__":
    main()
