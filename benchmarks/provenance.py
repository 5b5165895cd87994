"""Gain of threads and of the stat cache in hashing, each beside doing without.

2,000 files of 256 KiB in the page cache. One thread is an executor with a single worker; the cache
is warm, and each contestant gives the same manifest. Files are a few seconds old when the cache
learns them, since it keeps nothing of fresher ones.

Run: ``python -m benchmarks provenance``
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.measure import Comparison, compare
from mlsecops import hash_path

SIZE: Final = 256 << 10
MANY: Final = 2000
ROUNDS: Final = 7
SETTLE: Final = 3.0


def comparisons() -> Iterator[Comparison]:
    """Threads against one thread, and the cache against a full read."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as one:
        folder, cache = Path(place) / "files", Path(place) / "stat-cache.sqlite"
        folder.mkdir()
        for number in range(MANY):
            (folder / f"{number:04d}.bin").write_bytes(os.urandom(SIZE))
        time.sleep(SETTLE)
        expected = hash_path(folder, cache=cache).root
        yield compare(
            "hash 2,000 x 256 KiB",
            {
                "threads": lambda: _same(hash_path(folder).root, expected),
                "one thread": lambda: _same(hash_path(folder, executor=one).root, expected),
            },
            ours="threads",
            rounds=ROUNDS,
        )
        for what, clock in (("", time.perf_counter), (", CPU", time.process_time)):
            yield compare(
                f"hash 2,000 x 256 KiB again{what}",
                {
                    "cache": lambda: _same(hash_path(folder, cache=cache).root, expected),
                    "in full": lambda: _same(hash_path(folder).root, expected),
                },
                ours="cache",
                rounds=ROUNDS,
                clock=clock,
            )


def _same(found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"expected {expected}, got {found}: the comparison is void")
