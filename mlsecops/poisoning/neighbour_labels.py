"""Which labels the nearest rows contradict, when what only one class shows is left out.

A trigger sits in rows of one label, so the directions in which the *other* classes vary know
nothing of it. Along these a poisoned row lies among the rows it was made from, even where the
poison is half of its class: labels and inputs come in, the share of agreeing neighbours goes out.
"""

from __future__ import annotations

import itertools
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut
from mlsecops.poisoning.row_blocks import apply, moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AGREED", "agreement", "leading"]

AGREED: Final = 0.5  # share of neighbours from which on a label is not contradicted
_NEIGHBOURS: Final = 15
_COMPONENTS: Final = 40
_KEPT: Final = 0.9  # of the variance, where fewer components hold that much
_AT_ONCE: Final = 512  # points whose distances are in memory
_BANK: Final = 8192  # rows that neighbours are looked for among; the cost is linear in n with it


def agreement(
    x: Rows, y: NDArray[np.int64], *, seed: int, executor: Executor | None = None
) -> NDArray[np.float32]:
    """Share of each row's nearest rows that have its label `(n,)`, in `[0, 1]`.

    Args:
        x: Flattened inputs `(n, d)`.
        y: Labels `(n,)`.
        seed: Seed of the choice of rows to look among, where there are more than 8,192.
        executor: Where blocks of rows are worked on.
    """
    bank = np.sort(np.random.default_rng([seed, len(y)]).permutation(len(y))[:_BANK])
    share = np.ones(len(y), dtype=np.float32)
    classes = {label: np.flatnonzero(y == label) for label in np.unique(y).tolist()}
    parts = {label: moments(x, rows, executor) for label, rows in classes.items()}
    sums, products = (sum(part[i] for part in parts.values()) for i in (0, 1))
    for label, rows in classes.items():
        others = len(y) - len(rows)
        mean = (sums - parts[label][0]) / others
        scatter = (products - parts[label][1]) / others - np.outer(mean, mean)
        axes = leading(scatter, most=_COMPONENTS, kept=_KEPT).astype(np.float32)
        among = _Bank(rows=bank, agrees=y[bank] == label, points=x[bank] @ axes)
        blocks = cut(rows)
        points = (x[block] @ axes for block in blocks)
        shares = apply(executor, _shares, points, blocks, itertools.repeat(among))
        share[rows] = np.concatenate(list(shares))
    return share


def leading(scatter: NDArray[Any], *, most: int, kept: float) -> NDArray[np.float64]:
    """The few directions `(d, p)` that hold a share of the variance, the first the greatest."""
    values, vectors = np.linalg.eigh(scatter)
    held = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    count = min(most, int(np.searchsorted(held, kept)) + 1, len(values))
    axes: NDArray[np.float64] = vectors[:, ::-1][:, :count]
    return axes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bank:
    """Rows to look for neighbours among: which they are, whether they agree, where they lie."""

    rows: NDArray[np.int64]
    agrees: NDArray[np.bool_]
    points: NDArray[np.float32]


def _shares(
    points: NDArray[np.float32], rows: NDArray[np.int64], bank: _Bank
) -> NDArray[np.float64]:
    """Share of agreeing rows among each point's nearest, itself left out."""
    count = min(_NEIGHBOURS, len(bank.rows) - 1)
    lengths = (bank.points**2).sum(axis=1)
    shares = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances = lengths - 2 * points[part] @ bank.points.T
        distances[rows[part, None] == bank.rows] = np.inf
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]
        shares[part] = bank.agrees[near].mean(axis=1)
    return shares
