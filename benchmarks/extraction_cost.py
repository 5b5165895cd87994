"""Cost of watching for extraction: CPU a call, and memory with 100,000 clients.

CPU of `ExtractionDetector.observe` for tables of 2,048 rows of 50 features, when each client sends
a hundred calls in a row and when 64 clients take turns. Memory is the growth of the process while
100,000 clients send 8 calls each, and while as many as are remembered send 200 calls each.

Run: python -m benchmarks extraction_cost
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlsecops.monitoring import Baseline, ExtractionDetector, Observed

TABLE, FEATURES, TABLES = 2048, 50, 40
CLIENTS, CALLS = 100_000, 8
REMEMBERED, FULL = 10_000, 200


def made(rng: np.random.Generator) -> tuple[ExtractionDetector, np.ndarray, np.ndarray]:
    """A detector on normal noise, its rows and answers."""
    rows, answers = rng.normal(size=(1000, FEATURES)), rng.dirichlet([9, 1], 1000)
    chosen = [rng.choice(1000, 100) for _ in range(16)]
    detector = ExtractionDetector.calibrate(
        Baseline.fit(rows, answers),
        [(rows[each], answers[each]) for each in chosen],
        false_positive_rate=0.01,
    )
    return detector, rows, answers


def resident() -> float:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text("utf-8")
    line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def sent(tables: int, name: Callable[[int], str]) -> float:
    """CPU seconds a call for tables whose rows are of the clients that `name` gives."""
    rng = np.random.default_rng(0)
    detector, rows, answers = made(rng)
    spent = 0.0
    for number in range(tables):
        chosen = rng.integers(1000, size=TABLE)
        traffic = Observed(
            rows=rows[chosen] + rng.normal(scale=0.1, size=(TABLE, FEATURES)),
            probabilities=answers[chosen],
            clients=tuple(name(number * TABLE + row) for row in range(TABLE)),
            at=np.full(TABLE, float(number)),
        )
        start = time.process_time()
        list(detector.observe(traffic))
        spent += time.process_time() - start
    return spent / tables / TABLE


def main() -> None:
    """Measure and print."""
    row = sent(TABLES, lambda call: str(call // 100))
    turns = sent(TABLES, lambda call: str(call % 64))
    print(f"CPU a call: {row * 1e6:.1f} us a hundred in a row, {turns * 1e6:.1f} us of 64 in turns")
    for clients, calls in ((CLIENTS, CALLS), (REMEMBERED, FULL)):
        before = resident()
        sent(clients * calls // TABLE, lambda call, each=calls: str(call // each))
        print(f"{clients:,} clients of {calls} calls: {resident() - before:,.0f} MiB more")


if __name__ == "__main__":
    main()
