"""Who is caught, and who is wrongly accused: the extraction detector on scikit-learn's digits.

Clients, model and baseline use disjoint rows: a third trains the model, a third fits baseline and
calibration clients, the last third makes the clients that are measured. Intervals are exact
(Clopper and Pearson) at 95 %.

Run: python benchmarks/extraction_digits.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlsecops.monitoring import Baseline, ExtractionDetector

Floats = NDArray[np.float64]
Rng = np.random.Generator
QUERIES = 150
CLIENTS = 60


def iid(rng: Rng, pool: Floats, _: NDArray[np.int64]) -> Floats:
    return pool[rng.choice(len(pool), QUERIES)]


def few_classes(rng: Rng, pool: Floats, truth: NDArray[np.int64]) -> Floats:
    chosen = rng.choice(10, size=2, replace=False)
    return pool[rng.choice(np.flatnonzero(np.isin(truth, chosen)), QUERIES)]


def rescans(rng: Rng, pool: Floats, _: NDArray[np.int64]) -> Floats:
    few = pool[rng.choice(len(pool), 15)]
    noisy = few[rng.choice(len(few), QUERIES)] + rng.normal(scale=0.3, size=(QUERIES, 64))
    return np.clip(noisy, 0, 16)


def bursts(rng: Rng, pool: Floats, truth: NDArray[np.int64]) -> Floats:
    runs = [pool[rng.choice(np.flatnonzero(truth == c), 30)] for c in rng.choice(10, 5)]
    return np.concatenate(runs)


def uniform(rng: Rng, pool: Floats, _: NDArray[np.int64]) -> Floats:
    return rng.uniform(0, 16, size=(QUERIES, pool.shape[1]))


def mixed(rng: Rng, pool: Floats, truth: NDArray[np.int64]) -> Floats:
    """A quarter uniform queries among ordinary ones."""
    queries, attack = iid(rng, pool, truth), uniform(rng, pool, truth)
    return np.where(rng.random((QUERIES, 1)) < 0.25, attack, queries)


def line_search(rng: Rng, pool: Floats, _: NDArray[np.int64]) -> Floats:
    """Points between pairs of ordinary rows."""
    ends = pool[rng.choice(len(pool), (QUERIES // 10, 2))]
    steps = np.linspace(0, 1, 10)[None, :, None]
    return (ends[:, :1] * (1 - steps) + ends[:, 1:] * steps).reshape(-1, pool.shape[1])


BENIGN: dict[str, Callable[[Rng, Floats, NDArray[np.int64]], Floats]] = {
    "i.i.d.": iid,
    "two classes": few_classes,
    "rescans": rescans,
    "bursts": bursts,
}
THIEVES: dict[str, Callable[[Rng, Floats, NDArray[np.int64]], Floats]] = {
    "uniform": uniform,
    "line search": line_search,
    "25 % uniform": mixed,
    "i.i.d. thief": iid,
}


def interval(hits: int, n: int) -> str:
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"[{100 * low:.1f} %, {100 * high:.1f} %]"


def main() -> None:
    x, y = load_digits(return_X_y=True)
    totals: dict[str, list[int]] = {}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        train, known, fresh = np.array_split(rng.permutation(len(x)), 3)
        model = LogisticRegression(max_iter=2000, C=0.01).fit(x[train], y[train])
        answer = model.predict_proba
        baseline = Baseline.fit(x[known], answer(x[known]), y[known])
        queries = [make(rng, x[known], y[known]) for make in BENIGN.values() for _ in range(15)]
        detector = ExtractionDetector.calibrate(
            baseline, [(q, answer(q)) for q in queries], false_positive_rate=0.01, seed=seed
        )
        for name, make in (BENIGN | THIEVES).items():
            found = totals.setdefault(name, [])
            for _ in range(CLIENTS):
                q = make(rng, x[fresh], y[fresh])
                over = np.flatnonzero(detector.score(q, answer(q)) > 1)
                found.append(int(over[0]) + 1 if len(over) else 0)
    for name, found in totals.items():
        hits = [each for each in found if each]
        kind = "benign" if name in BENIGN else "thief"
        median = f"median query {int(np.median(hits))}" if hits else ""
        share = interval(len(hits), len(found))
        print(f"{kind:7}{name:14}{len(hits):4}/{len(found)} {share:20}{median}")


if __name__ == "__main__":
    main()
