"""Cost of holding a signed folder and reading it with safetensors, against loading it.

One process for each measurement: a folder of shards with its index, in the page cache, signed with
SHA-256. `load` gives tensors; `hold` gives a folder that safetensors' own reader then reads. Each
tensor is read once. CPU is of the whole process. Memory is what the process grew by at most, and
what files in memory took besides, for each byte of the model.

Run: ``python -m benchmarks holding [--mib 512] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors.torch import load_file, save_file

from mlsecops import SecureLoader, Signer, TrustPolicy, sign

WAYS: Final = ("load", "hold")
TIERS: Final = ("sealed", "pinned", "private-copy")
SHARDS: Final = (1, 8)


def main() -> int:
    """Measure both ways in each tier, in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "WAY", "TIER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(Path(options.one[0]), *options.one[1:])))
        return 0
    print(f"{options.mib} MiB, medians of {options.rounds} rounds, per GiB\n")
    print(f"{'shards':>6} {'tier':13} {'way':5} {'cpu s':>6} {'wall s':>7} {'memory ×':>9}  held")
    for shards in SHARDS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "model")
            make(folder, options.mib, shards)
            for tier in TIERS:
                rounds = [
                    {way: in_process(folder, way, tier) for way in WAYS}
                    for _ in range(options.rounds)
                ]
                for way in WAYS:
                    print(line(shards, tier, way, [each[way] for each in rounds], options.mib))
    return 0


def line(shards: int, tier: str, way: str, rounds: list[dict[str, Any]], mib: int) -> str:
    """One row of the table."""
    median = {name: statistics.median(each[name] for each in rounds) for name in ("cpu", "wall")}
    memory = statistics.median(each["memory"] for each in rounds) / (mib << 20)
    scale = 1024 / mib
    return (
        f"{shards:6} {tier:13} {way:5} {median['cpu'] * scale:6.2f} {median['wall'] * scale:7.2f} "
        f"{memory:9.2f}  {rounds[0]['tier']}"
    )


def make(folder: Path, mib: int, shards: int) -> None:
    """Write and sign a folder of shards."""
    folder.mkdir()
    where = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        count = mib // shards // 4
        tensors = {f"{number}.{each}": torch.rand(1024, 1024) for each in range(count)}
        save_file(tensors, folder / name)
        where |= dict.fromkeys(tensors, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    signer = Signer.generate("p256")
    sign(folder, signer)
    folder.with_name("key.pem").write_text(signer.public_key.pem)


def in_process(folder: Path, way: str, tier: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.holding", "--one", str(folder), way, tier]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(folder: Path, way: str, tier: Any) -> dict[str, Any]:
    """CPU, wall time and memory of one load or hold."""
    torch.set_num_threads(1)
    key = folder.with_name("key.pem")
    loader = SecureLoader(TrustPolicy(keys=[key]), tier=tier)
    with Peak() as peak:
        cpu, wall = time.process_time(), time.perf_counter()
        if way == "load":
            loaded = loader.load(folder)
            total = sum(float(each.sum()) for each in loaded.model.values())
            used = loaded.tier
        else:
            with loader.hold(folder) as held:
                total = 0.0
                for path in sorted(Path(held.folder).glob("*.safetensors")):
                    total += sum(float(each.sum()) for each in load_file(path).values())
                used = held.tier
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "memory": peak.most, "tier": used, "total": total}


class Peak:
    """Most memory that is not a file on disk, over what was used before; sampled."""

    def __enter__(self) -> Self:
        self.most = 0
        self._before = used_memory()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, used_memory() - self._before)


def used_memory() -> int:
    """Anonymous memory of this process, and files in memory of the whole system."""
    page = os.sysconf("SC_PAGE_SIZE")
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    for each in Path("/proc/meminfo").read_text().splitlines():
        if each.startswith("Shmem:"):
            return (resident - shared) * page + int(each.split()[1]) * 1024
    return (resident - shared) * page


if __name__ == "__main__":
    sys.exit(main())
