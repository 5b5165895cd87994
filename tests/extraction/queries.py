# ruff: noqa: ANN001 - arrays, and what stands for a detector
"""Queries of benign clients, and what a detector says of queries."""

from __future__ import annotations

import numpy as np

from mlsecops.readings import Observed, Reading

SALT = bytes(range(16))
N = 150
KINDS = ("iid", "few", "rescan", "drift")


def benign(pool, labels, kind: str, rng) -> np.ndarray:
    """Queries of one benign client."""
    if kind == "few":
        pool = pool[np.isin(labels, rng.choice(10, 2, replace=False))]
    if kind == "rescan":
        few = pool[rng.choice(len(pool), rng.integers(8, 30))]
        rows = few[rng.choice(len(few), N)]
        return rows + rng.normal(scale=0.3, size=rows.shape) * (rng.random((N, 1)) < 0.7)
    rows = pool[rng.choice(len(pool), N)]
    return rows * np.linspace(1, 0.7, N)[:, None] if kind == "drift" else rows


def peak(detector, digits, queries) -> float:
    return float(detector.score(queries, digits.predict(queries)).max())


def readings(detector, digits, queries, client="c") -> list[Reading]:
    return list(
        detector.observe(
            Observed(
                rows=queries,
                probabilities=digits.predict(queries),
                clients=(client,) * len(queries),
                at=np.zeros(len(queries)),
            )
        )
    )
