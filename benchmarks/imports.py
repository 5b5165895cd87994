"""Import cost of each room: CPU seconds of a fresh interpreter, with the budget.

The first column imports the face, which is lazy; the second uses every public name of it.

Run: ``python -m benchmarks imports``
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Final

RUNS: Final = 5
BUDGETS: Final = {
    "mlsecops": (0.1, 2.0),
    "mlsecops.access": (0.1, 0.3),
    "mlsecops.adapters": (0.1, 0.3),
    "mlsecops.audit": (0.1, 0.3),
    "mlsecops.incident": (0.1, 0.5),
    "mlsecops.llm": (0.1, 0.5),
    "mlsecops.loading": (0.1, 0.5),
    "mlsecops.monitoring": (0.1, 0.5),
    "mlsecops.poisoning": (0.1, 0.5),
    "mlsecops.provenance": (0.1, 0.3),
    "mlsecops.registry": (0.1, 0.5),
    "mlsecops.reports": (0.1, 0.8),
    "mlsecops.robustness": (0.1, 0.6),
    "mlsecops.signing": (0.1, 0.4),
}
"""Room → CPU seconds allowed for its import and for the use of all its names, on idle cores."""


def seconds(statement: str) -> float:
    """Median CPU seconds of a statement in a fresh interpreter, which has started already."""
    script = (
        f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    )
    taken = [
        float(
            subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
        )
        for _ in range(RUNS)
    ]
    return statistics.median(taken)


def main() -> None:
    """Print a row for each room; exit with a message where a budget is not kept."""
    over = []
    print(f"{'':24}{'import':>9}{'budget':>9}{'all names':>12}{'budget':>9}   CPU seconds")
    for room, budgets in BUDGETS.items():
        taken = (seconds(f"import {room}"), seconds(f"from {room} import *"))
        over += [room] if any(map(float.__gt__, taken, budgets)) else []
        print(f"{room:24}{taken[0]:9.3f}{budgets[0]:9.1f}{taken[1]:12.3f}{budgets[1]:9.1f}")
    if over:
        raise SystemExit(f"over budget: {', '.join(over)}")


if __name__ == "__main__":
    main()
