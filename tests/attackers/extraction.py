"""Queries that copy a model: each way of stealing in a line or two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def uniform_thief(seed: int, *, queries: int, features: int = 64, high: float = 16.0) -> Floats:
    """Random queries, as somebody without data sends to copy a model."""
    return np.random.default_rng(seed).uniform(0, high, size=(queries, features))


def line_thief(seed: int, pool: Floats, *, queries: int) -> Floats:
    """Ten points on the line between each of many pairs of natural rows."""
    ends = pool[np.random.default_rng(seed).choice(len(pool), (queries // 10, 2))]
    steps = np.linspace(0, 1, 10)[None, :, None]
    return (ends[:, :1] * (1 - steps) + ends[:, 1:] * steps).reshape(queries, -1)


def boundary_thief(
    seed: int, pool: Floats, answer: Callable[[Floats], Floats], *, queries: int
) -> Floats:
    """Bisects between two natural rows of different classes, then tries around the boundary."""
    rng = np.random.default_rng(seed)
    one = pool[rng.integers(len(pool))]
    name = answer(one[None]).argmax()
    other = next(row for row in rng.permutation(pool) if answer(row[None]).argmax() != name)
    walked = []
    for _ in range(20):
        walked.append((one + other) / 2)
        if answer(walked[-1][None]).argmax() == name:
            one = walked[-1]
        else:
            other = walked[-1]
    around = one + rng.normal(scale=0.2, size=(queries - len(walked), len(one)))
    return np.concatenate([walked, around])


def stepping_thief(seed: int, pool: Floats, slopes: Floats, *, queries: int, step: float) -> Floats:
    """Twenty natural rows, each moved on along the sign of a slope again and again."""
    rows = pool[np.random.default_rng(seed).choice(len(pool), 20)]
    while len(rows) < queries:
        rows = np.concatenate([rows, rows + step * np.sign(slopes)])
    return rows[:queries]


def shifted_thief(seed: int, pool: Floats, *, queries: int) -> Floats:
    """A boundary attack: a cloud of points around one row, moved together towards another row."""
    rng = np.random.default_rng(seed)
    one, other = pool[rng.choice(len(pool), 2, replace=False)]
    sent: list[Floats] = []
    while len(sent) * 20 < queries:
        cloud = one + rng.normal(scale=0.05, size=(20, len(one)))
        one = one + 0.02 * (other - one)
        sent += [cloud, cloud + 0.02 * (other - one)]
    return np.concatenate(sent)[:queries]


def mixed_thief(seed: int, pool: Floats, *, queries: int) -> Floats:
    """One uniform query among ten natural rows."""
    rng = np.random.default_rng(seed)
    rows = pool[rng.choice(len(pool), queries)].copy()
    rows[9::10] = uniform_thief(seed, queries=len(rows[9::10]))
    return rows
