"""Time and memory of the demo, as a newcomer starts it.

Wall time and the peak resident memory of ``mlsecops demo`` and of the second server it starts,
measured by the kernel over the whole subprocess tree (the largest process, not their sum).

Run: ``python -m benchmarks demo``
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from typing import Final

ROUNDS: Final = 3


def main() -> None:
    """Run the demo a few times and print what it took."""
    seconds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "mlsecops", "demo", "--out", f"{folder}/out"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    shown = ", ".join(f"{value:.1f}" for value in sorted(seconds))
    print(f"wall time of {ROUNDS} runs: {shown} s; largest process: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
