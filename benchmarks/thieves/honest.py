"""Honest clients: the traffic that must not raise an alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from benchmarks.thieves.tasks import Floats, Pool

QUERIES = 150
Rng = np.random.Generator
Client = Callable[[Rng, Pool, int], Floats]


def iid(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Rows as they come."""
    return pool.x[rng.choice(len(pool.x), QUERIES)]


def few_classes(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """One to three classes only."""
    chosen = rng.choice(10, size=rng.integers(1, 4), replace=False)
    return pool.x[rng.choice(np.flatnonzero(np.isin(pool.y, chosen)), QUERIES)]


def skewed(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Classes in shares of a Dirichlet distribution (concentration 0.3)."""
    shares = rng.dirichlet(np.full(10, 0.3))
    weights = shares[pool.y] / np.bincount(pool.y, minlength=10)[pool.y]
    return pool.x[rng.choice(len(pool.x), QUERIES, p=weights / weights.sum())]


def bursty(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Runs of one class, 10 to 40 long."""
    rows: list[int] = []
    while len(rows) < QUERIES:
        members = np.flatnonzero(pool.y == rng.integers(10))
        rows.extend(rng.choice(members, rng.integers(10, 41)))
    return pool.x[rows[:QUERIES]]


def drifting(rng: Rng, pool: Pool, side: int) -> Floats:
    """A camera that ages: contrast, brightness, noise, blur or position change slowly.

    The change grows in a line over the session, up to a strength that differs between clients.
    """
    rows = iid(rng, pool, side)
    amount = (rng.uniform(0.2, 1.0) * np.linspace(0, 1, QUERIES))[:, None]
    match rng.integers(5):
        case 0:
            changed = rows * (1 - 0.4 * amount)
        case 1:
            changed = rows + 0.2 * amount * (1 - rows)
        case 2:
            changed = rows + rng.normal(scale=0.1, size=rows.shape) * amount
        case 3:
            changed = rows + 0.6 * amount * (_filtered(rows, side, ndimage.uniform_filter) - rows)
        case _:
            changed = rows + 0.5 * amount * (_filtered(rows, side, _moved) - rows)
    return np.clip(changed, 0, 1)


def rescanning(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """8 to 40 objects again and again: retries of the same bytes, and new noisy scans."""
    few = pool.x[rng.choice(len(pool.x), rng.integers(8, 41))]
    rows = few[rng.choice(len(few), QUERIES)]
    noise = rng.normal(scale=rng.uniform(0.005, 0.04), size=rows.shape)
    return np.clip(rows + noise * (rng.random((QUERIES, 1)) < 0.7), 0, 1)


def _filtered(rows: Floats, side: int, change: Callable[..., Floats]) -> Floats:
    images = rows.reshape(-1, side, side)
    return change(images, size=(1, 3, 3)).reshape(rows.shape)


def _moved(images: Floats, size: object) -> Floats:  # noqa: ARG001 - takes the place of a filter
    return np.roll(images, 1, axis=2)


HONEST: dict[str, Client] = {
    "i.i.d.": iid,
    "few classes": few_classes,
    "Dirichlet-skewed": skewed,
    "bursty": bursty,
    "slowly drifting": drifting,
    "rescanning": rescanning,
}
