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
    classes = np.unique(pool.y)
    chosen = rng.choice(classes, size=rng.integers(1, min(4, len(classes))), replace=False)
    return pool.x[rng.choice(np.flatnonzero(np.isin(pool.y, chosen)), QUERIES)]


def skewed(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Classes in shares of a Dirichlet distribution (concentration 0.3)."""
    counts = np.bincount(pool.y)
    shares = rng.dirichlet(np.full(len(counts), 0.3))
    weights = shares[pool.y] / counts[pool.y]
    return pool.x[rng.choice(len(pool.x), QUERIES, p=weights / weights.sum())]


def bursty(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Runs of one class, 10 to 40 long."""
    rows: list[int] = []
    while len(rows) < QUERIES:
        members = np.flatnonzero(pool.y == rng.choice(pool.y))
        rows.extend(rng.choice(members, rng.integers(10, 41)))
    return pool.x[rows[:QUERIES]]


def drifting(rng: Rng, pool: Pool, side: int) -> Floats:
    """A camera that ages: contrast, brightness, noise, blur or position change slowly.

    The change grows in a line over the session, up to a strength that differs between clients.
    """
    rows = iid(rng, pool, side)
    amount = (rng.uniform(0.2, 1.0) * np.linspace(0, 1, QUERIES))[:, None]
    match rng.integers(5 if side else 3):
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


def frames(rng: Rng, pool: Pool, side: int) -> Floats:
    """One to three objects, filmed: position, brightness and noise, or all columns, wander."""
    objects = pool.x[rng.choice(len(pool.x), rng.integers(1, 4))]
    rows = objects[np.sort(rng.integers(len(objects), size=QUERIES))]
    amount = rng.uniform(0.3, 1.0)
    if not side:
        return np.clip(rows + 0.01 * amount * _wandering(rng, rows.shape[1], 0.95), 0, 1)
    places = np.clip(_wandering(rng, 2, 0.99) * 0.15 * amount, -1, 1)
    light = 1 + 0.02 * _wandering(rng, 1, 0.99)
    images = rows.reshape(-1, side, side)
    moved = [ndimage.shift(image, at, order=1) for image, at in zip(images, places, strict=True)]
    noise = rng.normal(scale=0.01 * amount, size=rows.shape)
    return np.clip(np.reshape(moved, rows.shape) * light + noise, 0, 1)


def still(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """One to three objects that do not move, under the noise of a camera or a gauge."""
    objects = pool.x[rng.choice(len(pool.x), rng.integers(1, 4))]
    rows = objects[np.sort(rng.integers(len(objects), size=QUERIES))]
    return np.clip(rows + rng.normal(scale=rng.uniform(0.002, 0.03), size=rows.shape), 0, 1)


def sensor(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """A reading every second while the state moves slowly from a row to a like one."""
    stops = pool.x[_chain(rng, pool.x, 7, among=3)]
    at = np.linspace(0, len(stops) - 1.001, QUERIES)
    part = (at % 1)[:, None]
    part = part**2 * (3 - 2 * part)
    rows = stops[at.astype(int)] * (1 - part) + stops[at.astype(int) + 1] * part
    return np.clip(rows + rng.normal(scale=rng.uniform(0.001, 0.01), size=rows.shape), 0, 1)


def polling(rng: Rng, pool: Pool, side: int) -> Floats:
    """Three sensors, read in turn."""
    return np.stack([sensor(rng, pool, side)[::3] for _ in range(3)], axis=1).reshape(QUERIES, -1)


def edits(rng: Rng, pool: Pool, side: int) -> Floats:
    """Records that are sent again after each of a few corrections."""
    rows: list[Floats] = []
    while len(rows) < QUERIES:
        row = pool.x[rng.integers(len(pool.x))].copy()
        rows.append(row.copy())
        for _ in range(rng.integers(3, 16)):
            if side:
                top, left = rng.integers(0, side - 1, 2)
                size = max(1, side // 7)
                row.reshape(side, side)[top : top + size, left : left + size] += rng.uniform(
                    -0.3, 0.3
                )
            else:
                row[rng.integers(len(row))] += rng.normal(scale=0.1)
            row = np.clip(row, 0, 1)
            rows.append(row.copy())
    return np.array(rows[:QUERIES])


def crawl(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """From each of one's records to the one that is most like it."""
    return pool.x[_chain(rng, pool.x, QUERIES, among=1)]


def sorted_batch(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """A stretch of a batch job over rows that are sorted by a column."""
    varied = np.flatnonzero(pool.x.std(axis=0) > 0)
    order = pool.x[:, rng.choice(varied)].argsort(kind="stable")
    start = rng.integers(len(order) - QUERIES + 1)
    return pool.x[order[start : start + QUERIES]]


def replay(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """The same rows to two versions of a service, in turn or one pass after the other."""
    rows = pool.x[rng.choice(len(pool.x), QUERIES // 2)]
    other = rows if rng.random() < 0.5 else np.round(rows, rng.integers(2, 4))
    if rng.random() < 0.5:
        return np.concatenate([rows, other])
    return np.stack([rows, other], axis=1).reshape(QUERIES, -1)


def like_bursts(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Bursts of events of one kind: 15 to 50 of the rows that are most like one."""
    rows: list[int] = []
    while len(rows) < QUERIES:
        gaps = np.square(pool.x - pool.x[rng.integers(len(pool.x))]).sum(axis=1)
        rows.extend(rng.choice(gaps.argsort()[: rng.integers(8, 30)], rng.integers(15, 50)))
    return pool.x[rows[:QUERIES]]


def retries(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """Each row one to five times, because answers are lost."""
    rows = pool.x[rng.choice(len(pool.x), QUERIES)]
    return rows.repeat(rng.integers(1, 6, QUERIES), axis=0)[:QUERIES]


def few_records(rng: Rng, pool: Pool, side: int) -> Floats:  # noqa: ARG001 - a Client
    """A health check with one to five fixed rows."""
    return pool.x[rng.choice(rng.choice(len(pool.x), rng.integers(1, 6)), QUERIES)]


def _wandering(rng: Rng, width: int, memory: float) -> Floats:
    """Autoregressive paths of the first order `(QUERIES, width)`."""
    rows = rng.normal(size=(QUERIES, width))
    rows[0] = 0
    for place in range(1, QUERIES):
        rows[place] += memory * rows[place - 1]
    return rows


def _chain(rng: Rng, x: Floats, length: int, *, among: int) -> list[int]:
    """Places of rows, each one of the `among` nearest to the one before that are not yet taken."""
    left = np.zeros(len(x))
    places = [int(rng.integers(len(x)))]
    while len(places) < length:
        left[places[-1]] = np.inf
        gaps = np.square(x - x[places[-1]]).sum(axis=1) + left
        places.append(int(rng.choice(gaps.argsort()[:among])))
    return places


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
RUNS: dict[str, Client] = {
    "filmed objects": frames,
    "noise of a still": still,
    "sensor each second": sensor,
    "three sensors in turn": polling,
    "edited retries": edits,
    "crawl": crawl,
    "sorted batch": sorted_batch,
    "A/B replay": replay,
    "bursts of like rows": like_bursts,
    "exact retries": retries,
    "health check": few_records,
}
