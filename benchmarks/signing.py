"""Verification costs: ratios of one run against ``model_signing`` 1.1.1, and hashlib.

Both sides run interleaved in one process (the library) or as one process each (the commands);
medians are compared. Files are read from the page cache. The big file is measured twice: as the
machine is, and with a busy process on each core. Each time says what other processes used; only
below a tenth of a core is the machine called idle.

Run: python -m benchmarks.signing [--gib 2] [--rounds 5] [--folder DIR]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import model_signing

from mlsecops.signing import Signer, TrustPolicy, bundle_path, sign, verify

MIB = 1 << 20
Figures = dict[str, float]


def medians(
    contestants: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> Figures:
    """Median seconds of each, the rounds interleaved and one warm-up dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, call in contestants.items():
            gc.collect()
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def children() -> float:
    """CPU seconds of ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used() -> float:
    """CPU seconds that all processes of the machine have used."""
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    fields = [int(each) for each in line.split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def own() -> float:
    """CPU seconds of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def load(state: str) -> Iterator[None]:
    """Print how many cores other processes used meanwhile, as a mean."""
    start, before = time.monotonic(), used() - own()
    yield
    others = (used() - own() - before) / (time.monotonic() - start)
    cores = len(os.sched_getaffinity(0))
    known = state if state != "idle" or others < 0.1 else "NOT idle: measure again"
    print(f"  ({known}: other processes used {max(others, 0):.2f} of {cores} cores)")


@contextmanager
def busy_cores() -> Iterator[None]:
    """A process that computes, on each core."""
    spin = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(spin) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


def report(what: str, measured: float, target: str, *, holds: bool) -> None:
    print(f"{what:<58} {measured:8.3f}   target {target:<9} {'ok' if holds else 'MISSED'}")


def at_most(what: str, measured: float, target: float) -> None:
    report(what, measured, f"<= {target}", holds=measured <= target)


def at_least(what: str, measured: float, target: float) -> None:
    report(what, measured, f">= {target}", holds=measured >= target)


class Case:
    """A signed model with both sides' ways to verify it."""

    def __init__(self, model: Path, keys: Path, *, algorithm: str = "sha256") -> None:
        signer = Signer.generate("p256")
        self.model, self.public = model, keys / f"{model.name}.{algorithm}.pub.pem"
        self.public.write_text(signer.public_key.pem)
        self.policy = TrustPolicy(keys=[self.public])
        out = bundle_path(model).with_suffix(f".{algorithm}.sig")
        out = bundle_path(model) if algorithm == "sha256" else out
        self.bundle = sign(model, signer, algorithm=algorithm, out=out).path or out

    def ours(self) -> object:
        """Verify with this library."""
        return verify(self.model, self.bundle, policy=self.policy)

    def theirs(self) -> object:
        """Verify with model_signing."""
        config: Any = model_signing.verifying.Config()
        return config.use_elliptic_key_verifier(public_key=self.public).verify(
            self.model, self.bundle
        )

    def our_command(self) -> None:
        """The same as a command."""
        self._run("mlsecops", "verify", self.model, "--key", self.public)

    def their_command(self) -> None:
        """The same as a command of model_signing."""
        self._run(
            "model_signing", "verify", "key", self.model,
            "--signature", self.bundle, "--public_key", self.public,
        )  # fmt: skip

    def _run(self, *words: object) -> None:
        command = [sys.executable, "-m", *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def peak_mib(case: Case) -> float:
    """Peak memory of our command, in MiB.

    Its own high-water mark: ``ru_maxrss`` of a child starts at the size of the process that
    started it.
    """
    code = (
        "import sys; from mlsecops.cli import main; main(sys.argv[1:]);"
        "status = open('/proc/self/status').read();"
        "print(status.split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "verify", str(case.model), "--key", str(case.public)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1]) / 1024


def tiny(folder: Path, rounds: int) -> None:
    model = folder / "tiny"
    model.mkdir()
    (model / "w.bin").write_bytes(b"weights")
    case = Case(model, folder)
    cpu = medians({"ours": case.our_command, "theirs": case.their_command}, rounds, children)
    at_most("command on a tiny model, CPU / model_signing", cpu["ours"] / cpu["theirs"], 0.35)
    at_most("command on a tiny model, peak memory (MiB)", peak_mib(case), 45)


def many_files(folder: Path, rounds: int) -> None:
    model = folder / "many"
    model.mkdir()
    for number in range(2000):
        (model / f"{number:04}.bin").write_bytes(os.urandom(256 << 10))
    case = Case(model, folder)
    both = {"ours": case.ours, "theirs": case.theirs}
    cpu = medians(both, rounds, time.process_time)
    at_most("2,000 files of 256 KiB, CPU / model_signing", cpu["ours"] / cpu["theirs"], 0.75)
    wall = medians(both, rounds, time.perf_counter)
    print(f"{'  wall time of the same, model_signing / ours':<58} "
          f"{wall['theirs'] / wall['ours']:8.3f}")  # fmt: skip
    cpu = medians({"ours": case.our_command, "theirs": case.their_command}, rounds, children)
    at_most("  the command, CPU / model_signing", cpu["ours"] / cpu["theirs"], 0.55)


def one_big_file(folder: Path, rounds: int, gib: float) -> None:
    path = folder / "big.bin"
    block = os.urandom(64 * MIB)
    with path.open("wb") as stream:
        for _ in range(int(gib * 16)):
            stream.write(block)
    case = Case(path, folder)

    def bare() -> None:
        with path.open("rb", buffering=0) as stream:
            hashlib.file_digest(stream, "sha256")

    fast = Case(path, folder, algorithm="blake3")
    contestants = {
        "ours": case.ours,
        "theirs": case.theirs,
        "bare": bare,
        "blake3": fast.ours,
    }
    with load("idle"):
        big_file_ratios(contestants, rounds, "as the machine is")
    with busy_cores(), load("busy"):
        big_file_ratios(contestants, rounds, "all cores busy")
    path.unlink()


def big_file_ratios(
    contestants: Mapping[str, Callable[[], object]], rounds: int, state: str
) -> None:
    sha = medians(contestants, rounds, time.perf_counter)
    ours = sha["ours"]
    print(f"one big file, {state}")
    at_least("  throughput / model_signing", sha["theirs"] / ours, 1.0)
    at_least("  throughput / bare hashlib.file_digest", sha["bare"] / ours, 1.0)
    at_least("  blake3, throughput / model_signing sha256", sha["theirs"] / sha["blake3"], 2.5)
    cpu = medians(contestants, 1, time.process_time)
    print(f"{'  CPU of ours / bare hashlib.file_digest':<58} {cpu['ours'] / cpu['bare']:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the big file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are written (3 GiB free)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with load("idle"):
            tiny(folder, options.rounds)
            many_files(folder, options.rounds)
        one_big_file(folder, options.rounds, options.gib)


if __name__ == "__main__":
    main()
