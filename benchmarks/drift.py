"""Drift against its targets: time, peers, and what replicas lose by merging.

KS and PSI of 10,000 × 50 fresh rows against a prepared reference of 100,000 rows, beside a loop
over scipy's ``ks_2samp`` and Evidently's ``DataDriftPreset`` with KS (in a virtual environment of
its own: ``make peers``). Then 16 replicas whose profiles and sketches are merged: how often the KS
distance stays within the bound that is reported with it, and bytes a feature.

Run: python -m benchmarks drift [--trials 200]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from benchmarks.measure import compare, table
from mlsecops.monitoring import Baseline, Profile, Sketch

Floats = NDArray[np.float64]
PEER = Path(__file__).parent / ".env-evidently" / "bin" / "python"
FEATURES, WINDOW, REFERENCE, REPLICAS = 50, 10_000, 100_000, 16

EVIDENTLY = """
import json, sys, time
import numpy as np, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
rng = np.random.default_rng(0)
names = [f"f{i}" for i in range(50)]
reference = pd.DataFrame(rng.normal(size=(100_000, 50)), columns=names)
fresh = pd.DataFrame(rng.normal(size=(10_000, 50)) + 0.02, columns=names)
report = Report([DataDriftPreset(method="ks")])
start = time.process_time()
report.run(fresh, reference)
json.dump({"seconds": time.process_time() - start}, sys.stdout)
"""


def evidently_seconds() -> float | None:
    """CPU seconds of one Evidently report, or None if it is not installed."""
    if not PEER.exists():
        return None
    done = subprocess.run([PEER, "-c", EVIDENTLY], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def speed() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(REFERENCE, FEATURES))
    fresh = rng.normal(size=(WINDOW, FEATURES)) + 0.02
    baseline = Baseline.fit(reference, None)
    baseline.drift(fresh)
    sides = {
        "mlsecops": lambda: baseline.drift(fresh),
        "scipy ks_2samp loop": lambda: [
            ks_2samp(reference[:, i], fresh[:, i], method="asymp") for i in range(FEATURES)
        ],
    }
    found = compare("KS and PSI, 10,000 × 50", sides, ours="mlsecops", clock=time.process_time)
    print(table([found]))
    ours = found.median("mlsecops")
    peer = evidently_seconds()
    told = "not installed: make peers" if peer is None else f"{peer:.2f} s, {peer / ours:.0f} times"
    print(f"Evidently DataDriftPreset(ks), CPU of one report: {told}")
    worst = max(
        abs(each.ks - ks_2samp(reference[:, i], fresh[:, i], method="asymp").statistic)
        for i, each in enumerate(baseline.drift(fresh).features.values())
    )
    print(f"largest difference from scipy's distance: {worst:.1e}")


def column(rng: np.random.Generator, kind: str, shift: float, rows: int) -> Floats:
    """One feature of a kind, moved by a share of its spread."""
    if kind == "normal":
        return rng.normal(shift, size=rows)
    if kind == "heavy tails":
        return rng.standard_t(2, size=rows) + shift
    if kind == "skewed":
        return rng.lognormal(shift, size=rows)
    return rng.poisson(5 + 2 * shift, size=rows).astype(np.float64)


def merging(trials: int) -> None:
    """How often merged replicas keep the bound that they state."""
    found: dict[str, list[Merged]] = {"profile": [], "sketch": []}
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        for kind in ("normal", "heavy tails", "skewed", "counts"):
            baseline = Baseline.fit(column(rng, kind, 0, 20_000)[:, None], None)
            shift = float(rng.choice([0, 0.05, 0.3, 1]))
            rows = column(rng, kind, shift, 32_000)[:, None]
            exact = baseline.drift(rows).features["f0"].ks
            for name, parts in replicas(baseline, rows).items():
                found[name].append(merged(baseline, parts, exact, either=name == "sketch"))
    for name, each in found.items():
        errors = [one.error for one in each]
        print(
            f"{REPLICAS} merged replicas, {name:8} within its bound "
            f"{100 * np.mean([one.kept for one in each]):.2f} % of {len(each)}; error median "
            f"{median(errors):.4f}, largest {max(errors):.4f}; bound median "
            f"{median(one.bound for one in each):.4f}; "
            f"at most {max(one.size for one in each)} bytes for one feature"
        )


class Merged(NamedTuple):
    """What replicas say together."""

    kept: bool
    error: float
    bound: float
    size: int


def merged(baseline: Baseline, parts: list[Any], exact: float, *, either: bool) -> Merged:
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    read = baseline.drift(whole).features["f0"]
    error, low = exact - read.ks, -read.error_bound if either else 0.0
    kept = low - 1e-9 <= error <= read.error_bound + 1e-9
    return Merged(kept, abs(error), read.error_bound, len(whole.to_bytes()))


def replicas(baseline: Baseline, rows: Floats) -> dict[str, list[Any]]:
    """What 16 replicas saw, each as the bytes it would send."""
    parts = np.array_split(rows, REPLICAS)
    counted = [baseline.profile().update(part).to_bytes() for part in parts]
    sketched = [baseline.sketch().update(part).to_bytes() for part in parts]
    return {
        "profile": [Profile.from_bytes(each) for each in counted],
        "sketch": [Sketch.from_bytes(each) for each in sketched],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    chosen = parser.parse_args()
    speed()
    merging(chosen.trials)


if __name__ == "__main__":
    main()
