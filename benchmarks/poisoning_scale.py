"""Time of each default poisoning detector at 60,000 and 240,000 rows.

The smaller set is Fashion-MNIST with a little noise; the larger one adds mirrored, upside-down and
transposed copies, so that rows stay distinct. 5 % of the rows have a backdoor. Figures are CPU
seconds in one thread, each detector run once; `duplicates`, the quickest, is the median of five.

Run: `OMP_NUM_THREADS=1 python -m benchmarks poisoning_scale`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from benchmarks.poison.cases import fashion
from mlsecops.poisoning.activation_clustering import spectral_suspects
from mlsecops.poisoning.duplicates import equal_rows, near_rows
from mlsecops.poisoning.label_noise import label_suspects, outlier_suspects
from mlsecops.poisoning.linear_model import out_of_fold_scores
from mlsecops.poisoning.neighbour_labels import neighbour_labels
from mlsecops.poisoning.pattern_search import Search, find_patterns
from mlsecops.poisoning.triggers import image_triggers

SMALL, LARGE = 60_000, 240_000


def data(rows: int) -> tuple[Any, Any]:
    """Flattened rows, a twentieth of them with a bright 2 x 2 patch and label 3."""
    rng = np.random.default_rng(0)
    x, y = fashion()
    turned = [x, x[:, :, ::-1], x[:, ::-1], x.transpose(0, 2, 1)][: rows // len(x)]
    x = np.concatenate([each.reshape(len(y), -1) for each in turned])
    y = np.concatenate([y] * len(turned))
    x += np.float32(0.02) * rng.standard_normal(x.shape, dtype=np.float32) * (x > 0)
    marked = rng.choice(np.flatnonzero(y != 3), rows // 20, replace=False)
    x[marked[:, None], [30, 31, 58, 59]], y[marked] = 0.9, 3
    return np.clip(x, 0, 1, out=x), y


def seconds(x: Any, y: Any) -> Iterator[tuple[str, float]]:
    """CPU seconds of each detector, and of the part that several share."""
    start = time.process_time()
    nearest = neighbour_labels(x, y, seed=0)
    yield "contradicted labels (shared)", time.process_time() - start
    directions = np.random.default_rng(1).standard_normal((x.shape[1], 64), dtype=np.float32)
    features = np.maximum((x - x.mean(axis=0)) @ directions, 0) / 10  # as a hidden layer of 64
    scores = out_of_fold_scores(features, y, nearest.contradicted, seed=0)
    detectors = {
        "duplicates": lambda: (equal_rows(x), near_rows(x, seed=0)),
        "outlier": lambda: outlier_suspects(x, y),
        "spectral": lambda: spectral_suspects(features, y, nearest.share),
        "label-noise": lambda: label_suspects(x, y, table=False, follows=None, seed=0),
        "activation-cluster": lambda: find_patterns(
            [Search(scores=s, focus=lambda _f, _o, rows: (features[rows],) * 2) for s in scores],
            y,
            nearest.contradicted,
            rivals=nearest.rival,
            seed=0,
        ),
        "trigger": lambda: image_triggers(x, y, shape=(28, 28), seed=0),
    }
    for name, detect in detectors.items():
        yield name, median(spent(detect) for _ in range(5 if name == "duplicates" else 1))


def spent(detect: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    start = time.process_time()
    detect()
    return time.process_time() - start


def main() -> None:
    small = dict(seconds(*data(SMALL)))
    for name, took in small.items():
        print(f"{name:30s} {SMALL} rows {took:6.1f} s", flush=True)
    for name, took in seconds(*data(LARGE)):
        print(f"{name:30s} {LARGE} rows {took:6.1f} s, ratio {took / small[name]:.2f}", flush=True)


if __name__ == "__main__":
    main()
