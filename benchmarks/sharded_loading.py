"""Cost of verifying a model of several shards while it is loaded.

Eight shards of safetensors with their index, in the page cache. One load in a process of its own:
plainly (each tensor copied out of its mapping), plainly without the copies, hashed only (on all
cores), and loaded verified. Then one tensor of a model whose signature is in shards of 8 MiB.

Wall times of ratios are of the same round. Memory is touched and given back first with `--touched`.

Run: ``python -m benchmarks sharded_loading [--mib 512] [--shards 8] [--rounds 5] [--touched]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.loading import resident, warm

SIDE: Final = 1024  # a tensor of 1024 × 1024 float32 is 4 MiB
SHARD: Final = 8 << 20  # bytes of a shard of the signature
PLAIN: Final = "plain, copied out"
WAYS: Final = (
    PLAIN, "plain, mapped", "hash sha256", "hash blake3", "sealed sha256", "sealed blake3",
    "pinned sha256", "pinned blake3", "hold sealed sha256", "hold pinned sha256",
    "all ranges sha256", "one tensor sha256",
)  # fmt: skip


def main() -> int:
    """Measure each way in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of a shard")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--touched", action="store_true", help="touch the memory first")
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(Path(options.one[0]), options.one[1], options.touched)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        make(folder, options.shards, options.mib)
        rounds = [turn(folder, number, options) for number in range(options.rounds)]
    size = options.shards * options.mib / 1024
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{options.shards} shards of {options.mib} MiB, {options.rounds} rounds, load {load}\n")
    print(f"{'way':22} {'wall s':>7} {'wall ×':>7} {'cpu s/GiB':>10} {'peak ×':>7} {'read ×':>7}")
    for way in options.ways:
        print(line(way, rounds, size))
    return 0


def turn(folder: Path, number: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One round: every way once, starting with another one each time."""
    ways = list(options.ways)
    first = number % len(ways)
    found = {}
    for way in ways[first:] + ways[:first]:
        command = [sys.executable, "-m", "benchmarks.sharded_loading", "--one", str(folder), way]
        command += ["--touched"] if options.touched else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(way: str, rounds: list[dict[str, dict[str, float]]], size: float) -> str:
    """Medians of one way; the ratio is the median of the rounds' own."""

    def middle(figure: Callable[[dict[str, dict[str, float]]], float]) -> float:
        return statistics.median(figure(each) for each in rounds)

    return (
        f"{way:22} {middle(lambda r: r[way]['wall']):7.2f} "
        f"{middle(lambda r: r[way]['wall'] / r[PLAIN]['wall']):7.2f} "
        f"{middle(lambda r: r[way]['cpu']) / size:10.2f} "
        f"{middle(lambda r: r[way]['peak']):7.2f} {middle(lambda r: r[way]['read']):7.3f}"
    )


def measured(folder: Path, way: str, touched: bool) -> dict[str, float]:  # noqa: FBT001 - an option
    """One load in this process: wall and CPU seconds, peak and bytes read by each byte of it."""
    import torch  # noqa: PLC0415 - the parent needs no framework

    torch.set_num_threads(1)
    load = loading(way)
    load(folder.with_name("small"))  # imports, compiled regular expressions, …
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if touched:
        for file in folder.glob("*.safetensors"):
            warm(file, file.stat().st_size)
    before, read = resident("VmRSS"), characters()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    cpu, wall = cpu_seconds(), time.perf_counter()
    kept = load(folder)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    peak = (resident("VmHWM") - before) / size
    del kept
    return {"cpu": cpu, "wall": wall, "peak": peak, "read": (characters() - read) / size}


def cpu_seconds() -> float:
    """CPU seconds of this process and those that it has waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def characters() -> int:
    """Bytes that this process has read with system calls."""
    text = Path("/proc/self/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def loading(way: str) -> Callable[[Path], Any]:
    """The function that loads a folder in a way."""
    if way.startswith("plain"):
        return lambda folder: plain(folder, copied=way == PLAIN)
    from mlsecops import SecureLoader, TrustPolicy, hash_path  # noqa: PLC0415 - not for the peer

    *kind, algorithm = way.split()
    if kind == ["hash"]:
        return lambda folder: hash_path(folder, algorithm=algorithm, ignore=SIGNATURES)
    tier = kind[-1] if kind[-1] in {"sealed", "pinned"} else "pinned"

    def load(folder: Path) -> Any:
        policy = TrustPolicy(keys=[folder.parent / "key.pub.pem"])
        loader = SecureLoader(policy, tier=tier)  # type: ignore[arg-type] # one of both
        ranges = "ranges" in kind or "tensor" in kind
        bundle = folder / f"{algorithm}{'.shards' if ranges else ''}.sig"
        if kind[0] == "hold":
            with loader.hold(folder, bundle=bundle) as held:
                return held.digest
        wanted: dict[str, Any] = {"tensors": ["0.0"]} if "tensor" in kind else {}
        if "ranges" in kind:
            wanted = {"tensors": sorted(json.loads(
                (folder / "model.safetensors.index.json").read_text())["weight_map"])}  # fmt: skip
        return loader.load(folder, bundle=bundle, framework="torch", **wanted).model

    return load


def plain(folder: Path, *, copied: bool) -> Any:
    """Load as people do without this library."""
    from safetensors import safe_open  # noqa: PLC0415 - as above

    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                tensor = opened.get_tensor(name)
                found[name] = tensor.clone() if copied else tensor
    return found


SIGNATURES: Final = (
    "sha256.sig", "blake3.sig", "sha256.shards.sig", "blake3.shards.sig",
)  # fmt: skip


def make(folder: Path, shards: int, mib: int) -> None:
    """The model, a small one to warm up with, and their signatures."""
    import torch  # noqa: PLC0415 - as above
    from safetensors.torch import save_file  # noqa: PLC0415 - as above

    from mlsecops import Signer, sign  # noqa: PLC0415 - as above

    signer = Signer.generate("p256")
    folder.mkdir(parents=True)
    (folder.parent / "key.pub.pem").write_text(signer.public_key.pem)
    for place, size in ((folder, mib // 4), (folder.with_name("small"), 1)):
        place.mkdir(exist_ok=True)
        placed: dict[str, str] = {}
        for number in range(shards):
            name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            weights = {f"{number}.{n}": torch.randn(SIDE, SIDE) for n in range(size)}
            save_file(weights, place / name)
            placed |= dict.fromkeys(weights, name)
        index = {"metadata": {}, "weight_map": placed}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
        for algorithm in ("sha256", "blake3"):
            for suffix, options in (("", {}), (".shards", {"shard_size": SHARD})):
                out = place / f"{algorithm}{suffix}.sig"
                sign(place, signer, out=out, algorithm=algorithm, ignore=SIGNATURES, **options)  # type: ignore[arg-type] # an option


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
