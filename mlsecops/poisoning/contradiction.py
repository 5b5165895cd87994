"""Which labels the nearest rows contradict, when what only one class shows is left out.

A trigger sits in rows of one label, so the directions in which the *other* classes vary know
nothing of it. Along these a poisoned row lies among the rows it was made from, even where the
poison is half of its class: labels and inputs come in, the share of agreeing neighbours goes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AGREED", "agreement", "leading"]

AGREED: Final = 0.5  # share of neighbours from which on a label is not contradicted
_NEIGHBOURS: Final = 15
_COMPONENTS: Final = 40
_KEPT: Final = 0.9  # of the variance, where fewer components hold that much
_BANK: Final = 8192  # rows that neighbours are looked for among; the cost is linear in n with it
_BLOCK: Final = 1024  # rows asked about at once


def agreement(x: NDArray[np.float32], y: NDArray[np.int64], *, seed: int) -> NDArray[np.float32]:
    """Share of each row's nearest rows that have its label ``(n,)``, in ``[0, 1]``.

    Args:
        x: Flattened inputs ``(n, d)``.
        y: Labels ``(n,)``.
        seed: Seed of the choice of rows to look among, where there are more than 8,192.
    """
    bank = np.sort(np.random.default_rng([seed, len(y)]).permutation(len(y))[:_BANK])
    whole, sums = x.T @ x, x.sum(axis=0)
    share = np.ones(len(y), dtype=np.float32)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        mean = (sums - x[rows].sum(axis=0)) / (len(y) - len(rows))
        scatter = (whole - x[rows].T @ x[rows]) / (len(y) - len(rows)) - np.outer(mean, mean)
        axes = leading(scatter, most=_COMPONENTS, kept=_KEPT).astype(np.float32)
        among = (x[bank] - mean) @ axes
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            near = _nearest((x[block] - mean) @ axes, among, itself=block[:, None] == bank)
            share[block] = (y[bank][near] == label).mean(axis=1)
    return share


def leading(scatter: NDArray[Any], *, most: int, kept: float) -> NDArray[np.float64]:
    """The few directions ``(d, p)`` that hold a share of the variance, the first the greatest."""
    values, vectors = np.linalg.eigh(scatter.astype(np.float64))
    held = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    count = min(most, int(np.searchsorted(held, kept)) + 1, len(values))
    axes: NDArray[np.float64] = vectors[:, ::-1][:, :count]
    return axes


def _nearest(
    points: NDArray[Any], among: NDArray[Any], *, itself: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Places in ``among`` of each point's nearest, itself left out."""
    distances = (among**2).sum(axis=1) - 2 * points @ among.T
    distances[itself] = np.inf
    count = min(_NEIGHBOURS, len(among) - 1)
    return np.argpartition(distances, count - 1, axis=1)[:, :count]
