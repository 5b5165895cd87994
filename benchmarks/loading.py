"""Cost of loading a signed model through SecureLoader instead of trusting the path.

One load in a process of its own, as a server does when it starts: a state dict in safetensors and
in torch's format, in the page cache, every tensor read once. The peers read the path and check
nothing. Memory is touched and given back first, so that no hypervisor hands it out meanwhile.

CPU is of the whole process; "over" is what we spend beyond the peer, for each GiB; peak is what the
process grew by at most, for each byte of the file.

Run: ``python -m benchmarks loading [--mib 512] [--rounds 5]``
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SIDE: Final = 1024  # a layer of 1024 × 1024 float32 is 4 MiB
PLAIN: Final = "plain"
WAYS: Final = (
    PLAIN, "sealed sha256", "pinned sha256", "pinned blake3", "private-copy sha256",
)  # fmt: skip
FILES: Final = {"safetensors": "model.safetensors", "torch zip": "model.pt"}


def main() -> int:
    """Measure each way of loading each format, in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", nargs="*", default=list(FILES), choices=FILES)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--one", nargs=3, metavar=("FILE", "WAY", "MEMORY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        file, way, memory = options.one
        print(json.dumps(measured(Path(file), way, touched=memory == "touched")))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.mib)
        for kind in options.files:
            for memory in ("touched", "untouched"):
                report(Path(folder, FILES[kind]), kind, memory, options)
    return 0


def report(file: Path, kind: str, memory: str, options: argparse.Namespace) -> None:
    """Measure each way of loading one file, in turns, and print the medians."""
    ways = [PLAIN, *(way for way in options.ways if way != PLAIN)]
    rounds = [dict(turn(file, number, ways, memory)) for number in range(options.rounds)]
    load = os.getloadavg()[0]
    print(f"{kind}, {options.mib} MiB, {memory} memory, {options.rounds} rounds, medians per GiB, "
          f"load {load:.1f}\n")  # fmt: skip
    print(f"{'way':22} {'cpu s':>6} {'over s':>7} {'wall s':>7} {'cpu ×':>6} {'wall ×':>7} "
          f"{'peak ×':>7}")  # fmt: skip
    for way in ways:
        print(line(way, rounds, gib=options.mib / 1024))
    print(flush=True)


def turn(
    file: Path, number: int, ways: list[str], memory: str
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """One round: every way once, starting with another one each time."""
    first = number % len(ways)
    for way in ways[first:] + ways[:first]:
        command = [sys.executable, "-m", "benchmarks.loading", "--one", str(file), way, memory]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        yield way, json.loads(done.stdout.splitlines()[-1])


def line(way: str, rounds: list[dict[str, Mapping[str, float]]], *, gib: float) -> str:
    """Medians of one way; ratios are medians of the rounds' own."""

    def middle(figure: Callable[[dict[str, Mapping[str, float]]], float]) -> float:
        return statistics.median(figure(each) for each in rounds)

    return (
        f"{way:22} {middle(lambda r: r[way]['cpu']) / gib:6.2f} "
        f"{middle(lambda r: r[way]['cpu'] - r[PLAIN]['cpu']) / gib:7.2f} "
        f"{middle(lambda r: r[way]['wall']) / gib:7.2f} "
        f"{middle(lambda r: r[way]['cpu'] / r[PLAIN]['cpu']):6.2f} "
        f"{middle(lambda r: r[way]['wall'] / r[PLAIN]['wall']):7.2f} "
        f"{middle(lambda r: r[way]['peak']):7.2f}"
    )


def measured(file: Path, way: str, *, touched: bool) -> dict[str, float]:
    """One load in this process: seconds of CPU and wall, and the peak as a share of the file."""
    import torch  # noqa: PLC0415 - the parent needs no framework

    torch.set_num_threads(1)
    load = loading(way)
    touch(load(file.with_name(f"small{file.suffix}")))  # imports, compiled regular expressions, …
    size = file.stat().st_size
    warm(file, size if touched else 0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    cpu, wall = time.process_time(), time.perf_counter()
    weights = load(file)
    touch(weights)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "peak": (resident("VmHWM") - before) / size}


def loading(way: str) -> Callable[[Path], Any]:
    """The function that loads a path in a way."""
    if way == PLAIN:
        return plain
    from mlsecops import SecureLoader, TrustPolicy  # noqa: PLC0415 - the peer does not need it

    tier, algorithm = way.split()

    def load(path: Path) -> Any:
        policy = TrustPolicy(keys=[path.parent / "key.pub.pem"])
        bundle = f"{path}.{algorithm}.sig"
        loaded = SecureLoader(policy, tier=tier).load(path, bundle=bundle, framework="torch")  # type: ignore[arg-type]
        if loaded.tier != tier:
            raise SystemExit(f"{tier} became {loaded.tier}")
        return loaded.model

    return load


def plain(path: Path) -> Any:
    """Load as people do without this library."""
    import torch  # noqa: PLC0415 - as above
    from safetensors.torch import load_file  # noqa: PLC0415 - as above

    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)


def make(folder: Path, mib: int) -> None:
    """The models, small ones to warm up with, and their signatures under each algorithm."""
    import torch  # noqa: PLC0415 - as above
    from safetensors.torch import save_file  # noqa: PLC0415 - as above

    from mlsecops import Signer, sign  # noqa: PLC0415 - as above

    signer = Signer.generate("p256")
    (folder / "key.pub.pem").write_text(signer.public_key.pem)
    for stem, layers in (("model", mib // 4), ("small", 1)):
        weights = {f"layer.{n}.weight": torch.randn(SIDE, SIDE) for n in range(layers)}
        save_file(weights, folder / f"{stem}.safetensors")
        torch.save(weights, folder / f"{stem}.pt")
        for suffix in (".safetensors", ".pt"):
            for algorithm in ("sha256", "blake3"):
                path = folder / f"{stem}{suffix}"
                sign(path, signer, out=Path(f"{path}.{algorithm}.sig"), algorithm=algorithm)


def warm(file: Path, size: int) -> None:
    """Bring the file into the page cache, and touch the memory that a copy of a size will take."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(1 << 24):
            pass
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory may have no huge pages
    if not size:
        return
    with mmap.mmap(-1, 2 * size, flags=flags) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1


def resident(line: str) -> int:
    """A line of the process's status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{line}:")[1].split()[0]) << 10


def touch(weights: Any) -> float:
    """Read every tensor: a memory map that nobody reads costs nothing and is worth nothing."""
    return float(sum(tensor.sum() for tensor in weights.values()))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
