"""Hashing costs: threads against one, the stat cache against reading, the command's start.

Contestants run interleaved; medians are compared. Files are read from the page cache. Figures of
signatures against ``model_signing`` are in ``benchmarks/signing.py``.

Run: python benchmarks/manifests.py [--gib 2] [--rounds 5] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.signing import MIB, Case, at_least, at_most, children, medians
from mlsecops.provenance import StatCache, hash_dataset, hash_path

FILES = 2000


def many_files(folder: Path, rounds: int) -> None:
    data = folder / "many"
    data.mkdir()
    for number in range(FILES):
        (data / f"{number:04}.bin").write_bytes(os.urandom(256 << 10))
    with ThreadPoolExecutor(1) as one:
        ways = {"one": lambda: hash_path(data, executor=one), "ours": lambda: hash_path(data)}
        wall = medians(ways, rounds, time.perf_counter)
    cores = len(os.sched_getaffinity(0))
    at_least(
        f"2,000 × 256 KiB, wall time, one thread / {cores} cores", wall["one"] / wall["ours"], 1.6
    )
    again("2,000 × 256 KiB", data, folder, rounds)


def again(what: str, data: Path, folder: Path, rounds: int) -> None:
    """Verify in full and with a cache."""
    cache = StatCache(folder / f"{data.name}.cache")
    manifest = hash_path(data, cache=cache)
    ways = {
        "full": lambda: manifest.verify(data),
        "cache": lambda: manifest.verify(data, cache=cache),
    }
    wall = medians(ways, rounds, time.perf_counter)
    at_least(f"{what}, verified again, full / with the cache", wall["full"] / wall["cache"], 40)


def one_big_file(folder: Path, rounds: int, gib: float) -> None:
    path = folder / "big.bin"
    block = os.urandom(64 * MIB)
    with path.open("wb") as stream:
        for _ in range(int(gib * 16)):
            stream.write(block)

    def bare() -> None:
        with path.open("rb", buffering=0) as stream:
            hashlib.file_digest(stream, "sha256")

    ways = {
        "bare": bare,
        "sha256": lambda: hash_path(path),
        "shards": lambda: hash_path(path, shard_size=8 * MIB),
        "blake3": lambda: hash_path(path, algorithm="blake3"),
    }
    wall = medians(ways, rounds, time.perf_counter)
    at_least("one big file, sha256 / hashlib.file_digest", wall["bare"] / wall["sha256"], 0.95)
    at_least("  sha256 in shards / hashlib.file_digest", wall["bare"] / wall["shards"], 0.95)
    at_least("  blake3 / hashlib.file_digest of sha256", wall["bare"] / wall["blake3"], 2.5)
    again(f"one file of {gib:g} GiB", path, folder, rounds)
    path.unlink()


def command(folder: Path, rounds: int) -> None:
    model = folder / "tiny"
    model.mkdir()
    (model / "w.bin").write_bytes(b"weights")
    case = Case(model, folder)
    ours = [sys.executable, "-m", "mlsecops", "hash", str(model)]
    ways: dict[str, Any] = {
        "ours": lambda: subprocess.run(ours, check=True, stdout=subprocess.DEVNULL),
        "theirs": case.their_command,
    }
    cpu = medians(ways, rounds, children)
    at_most("command on a tiny model, CPU / model_signing", cpu["ours"] / cpu["theirs"], 0.35)
    code = (
        "import sys; from mlsecops.cli import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "hash", str(model)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    at_most("  peak memory (MiB)", int(done.stderr.split()[-1]) / 1024, 45)


def tables(rounds: int) -> None:
    """One table in four libraries: what its content costs beside its bytes; no target."""
    import pandas as pd  # noqa: PLC0415 - only this part needs it
    import polars as pl  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    rows = 1_000_000
    columns = {f"f{at}": np.random.default_rng(at).random(rows) for at in range(6)}
    held: dict[str, Any] = {
        "numpy": columns,
        "pandas": pd.DataFrame(columns),
        "polars": pl.DataFrame(columns),
        "pyarrow": pa.table(columns),
    }
    ways = {name: (lambda data=data: hash_dataset(data, name="t")) for name, data in held.items()}
    wall = medians(ways, rounds, time.perf_counter)
    size = sum(values.nbytes for values in columns.values()) / MIB
    for name, seconds in wall.items():
        print(f"{f'1,000,000 rows × 6 floats in {name} (MiB/s)':<58} {size / seconds:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the big file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are written (3 GiB free)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        command(folder, options.rounds)
        many_files(folder, options.rounds)
        one_big_file(folder, options.rounds, options.gib)
    tables(options.rounds)


if __name__ == "__main__":
    main()
