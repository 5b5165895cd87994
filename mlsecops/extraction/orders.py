"""Orders in which honest clients send their rows: crawls, sorted batches, runs of like rows.

    rows of benign clients in the scorer's space → places of the rows of further benign clients

Calibration clients often draw their rows at random. Services also see a crawl over one's own
records, a batch sorted by a key, and events that come in runs. These need no model: the rows and
their answers are known, only the order is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.matmul import squared_distances

__all__ = ["ordered_rows"]

_POOL: Final = 2048  # rows; chosen: bounds the table of distances to 32 MiB
_RUN: Final = (10, 40)  # rows; chosen: shorter and longer runs resemble other clients


def ordered_rows(
    points: Floats, *, length: int, clients: int, rng: np.random.Generator
) -> Iterator[Counts]:
    """Places in `points` `(n, d)` of the queries of that many clients of each order."""
    pool = rng.choice(len(points), min(_POOL, len(points)), replace=False)
    chosen = points[pool]
    gaps = squared_distances(chosen, chosen)
    for _ in range(clients):
        yield pool[_crawl(gaps, length, rng)]
        yield pool[_sorted(chosen, length, rng)]
        yield pool[_runs(gaps, length, rng)]


def _crawl(gaps: Floats, length: int, rng: np.random.Generator) -> Counts:
    """From each row to the nearest one that was not sent yet."""
    place = int(rng.integers(len(gaps)))
    left = np.zeros(len(gaps))
    visited = [place]
    for _ in range(min(length, len(gaps)) - 1):
        left[place] = np.inf
        place = int((gaps[place] + left).argmin())
        visited.append(place)
    return np.array(visited)


def _sorted(points: Floats, length: int, rng: np.random.Generator) -> Counts:
    """A stretch of the rows sorted by one component."""
    order = points[:, rng.integers(points.shape[1])].argsort(kind="stable")
    start = rng.integers(max(1, len(order) - length + 1))
    return np.asarray(order[start : start + length])


def _runs(gaps: Floats, length: int, rng: np.random.Generator) -> Counts:
    """Runs of rows that are near one row each."""
    sent: list[int] = []
    while len(sent) < length:
        few = int(rng.integers(*_RUN))
        near = np.argpartition(gaps[rng.integers(len(gaps))], min(few, len(gaps) - 1))[:few]
        sent.extend(rng.choice(near, few).tolist())
    return np.array(sent[:length])
