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


def frames(pool, rng) -> np.ndarray:
    """One object that is filmed: it moves by parts of a pixel, under noise."""
    image = pool[rng.integers(len(pool))].reshape(8, 8)
    moved = np.clip(np.cumsum(rng.normal(scale=0.02, size=(N, 2)), axis=0), -0.3, 0.3)
    rows = [
        (1 - abs(a) - abs(b)) * image
        + abs(a) * np.roll(image, np.sign(a).astype(int), 0)
        + abs(b) * np.roll(image, np.sign(b).astype(int), 1)
        for a, b in moved
    ]
    return np.reshape(rows, (N, 64)) + rng.normal(scale=0.1, size=(N, 64))


def polled(pool, rng) -> np.ndarray:
    """A sensor that is read every second while it moves from one row to a like one."""
    start = pool[rng.integers(len(pool))]
    near = np.square(pool - start).sum(axis=1).argsort()[1:4]
    stops = np.concatenate([start[None], pool[near]])
    at = np.linspace(0, len(stops) - 1.001, N)
    part = (at % 1)[:, None]
    rows = stops[at.astype(int)] * (1 - part) + stops[at.astype(int) + 1] * part
    return rows + rng.normal(scale=0.05, size=rows.shape)


def still(pool, rng) -> np.ndarray:
    """One object under the noise of a camera."""
    return pool[rng.integers(len(pool))] + rng.normal(scale=0.2, size=(N, 64))


def edited(pool, rng) -> np.ndarray:
    """Records that are sent again after each of several small corrections."""
    rows = pool[rng.choice(len(pool), N // 10)].repeat(10, axis=0)
    changes = np.zeros((N, 64))
    changes[np.arange(N), rng.integers(64, size=N)] = rng.normal(scale=2.0, size=N)
    changes[::10] = 0
    return rows + changes.reshape(-1, 10, 64).cumsum(axis=1).reshape(N, 64)


def sorted_batch(pool, rng) -> np.ndarray:
    """A stretch of all rows sorted by a key."""
    order = pool[:, rng.choice(np.flatnonzero(pool.std(axis=0) > 1))].argsort(kind="stable")
    start = rng.integers(len(order) - N)
    return pool[order[start : start + N]]


def crawled(pool, rng) -> np.ndarray:
    """From each record to the one that is most like it."""
    left = pool.copy()
    at = int(rng.integers(len(left)))
    rows = []
    for _ in range(N):
        rows.append(left[at])
        left = np.delete(left, at, axis=0)
        at = int(np.square(left - rows[-1]).sum(axis=1).argmin())
    return np.array(rows)


def replayed(pool, rng) -> np.ndarray:
    """The same rows to two versions, the second time as rounded numbers with an offset."""
    rows = pool[rng.choice(len(pool), N // 2)]
    return np.concatenate([rows, np.round(rows, 1) + 0.1])


RUNS = (frames, polled, still, edited, sorted_batch, crawled, replayed)
"""Honest clients with runs of like inputs, of kinds that no detector here is calibrated on."""


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
