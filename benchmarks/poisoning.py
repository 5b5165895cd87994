"""How much planted poison screening and detection find in Fashion-MNIST, and what they accuse.

Detectors were changed while looking at the triggers TUNED with seed 1; those HELD_OUT were written
before and only measured. Each case draws place, colour and target anew. Recall is of the union of
both calls; label noise counts for flipped labels alone, and there every kind counts as false.
Intervals are 95 % bootstrap intervals over cases, as the rows of one are found together or not.

Run: ``python -m benchmarks poisoning`` or ``python benchmarks/poisoning.py --seeds 2 --only held``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.poison import cases as made
from benchmarks.poison.models import trained
from mlsecops.poisoning import detect_poisoning, screen_dataset

RATES = (0.01, 0.05, 0.10)


def rates_of(case: made.Case) -> tuple[float, float]:
    """Recall and false-positive rate of both calls' union."""
    found = [
        *screen_dataset(case.x, case.y).suspects,
        *detect_poisoning(trained(case.x, case.y), case.x, case.y).suspects,
    ]
    flips = case.name.startswith("flip")
    accused = {each.index for each in found if flips or each.kind != "label-noise"}
    planted = set(case.planted.tolist())
    recall = len(accused & planted) / len(planted) if planted else float("nan")
    return recall, len(accused - planted) / (len(case.y) - len(planted))


def interval(values: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    means = [float(np.mean(rng.choice(values, len(values)))) for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def report(name: str, cases: Iterable[made.Case]) -> None:
    """Print each case's rates and the mean over the cases with its interval."""
    measured: list[tuple[float, float]] = []
    for case in cases:
        recall, false = rates_of(case)
        measured.append((recall, false))
        print(f"  {case.name:22s} recall {recall:.3f} false {false:.4f}", flush=True)
    recalls, falses = ([m[i] for m in measured] for i in (0, 1))
    print(f"{name:24s} recall {_mean(recalls)} false {_mean(falses)}", flush=True)


def _mean(values: list[float]) -> str:
    if np.isnan(values).any():
        return "-"
    low, high = interval(values)
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


def backdoors(stamps: Iterable[Any], rate: float, seeds: Iterable[int]) -> Iterator[made.Case]:
    for seed in seeds:
        for stamp in stamps:
            yield made.backdoored(stamp, rate, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="data sets per trigger and rate")
    parser.add_argument("--only", choices=("clean", "flip", "held", "tuned", "hard"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(100, 100 + options.seeds)
    if options.only in (None, "clean"):
        report("untouched", (made.untouched(seed) for seed in range(100, 103 + options.seeds)))
    if options.only in (None, "flip"):
        for rate in RATES[1:]:
            report(f"flip {rate:.0%}", (made.flipped(rate, 100 + i) for i in range(2)))
    if options.only in (None, "held"):
        for rate in RATES:
            report(f"BadNets {rate:.0%}, held out", backdoors(made.HELD_OUT, rate, seeds))
        report("blend 5%, held out", backdoors(made.HELD_OUT_BLENDS, 0.05, seeds))
    if options.only in (None, "tuned"):
        for rate in RATES:
            report(f"BadNets {rate:.0%}, tuned on", backdoors(made.TUNED, rate, [1]))
        report("blend 5%, tuned on", backdoors(made.TUNED_BLENDS, 0.05, [1]))
    if options.only in (None, "hard"):
        for rate in RATES:
            report(f"moving patch {rate:.0%}", backdoors([made.moving], rate, seeds))


if __name__ == "__main__":
    main()
