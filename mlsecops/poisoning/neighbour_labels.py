"""Labels of the nearest neighbours, outside of class-specific directions.

rows, labels → principal components of the *other* classes → nearest rows → NeighbourLabels

A trigger occurs in rows of one label only, so the principal components of the other classes do not
contain it. Along these a poisoned row is close to the rows that it was made from, even if half of
its class is poisoned.
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

_AGREED: Final = 0.5  # share of agreeing neighbours; chosen: below, the label is contradicted
_NEIGHBOURS: Final = 15  # nearest neighbours per row; chosen
_COMPONENTS: Final = 40  # most principal components; chosen
_KEPT: Final = 0.9  # share of the variance; chosen: fewer components suffice if they hold it
_AT_ONCE: Final = 512  # points; chosen: bounds the memory of the distances
_BANK: Final = 8192  # candidate neighbours; chosen: keeps the cost linear in the rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeighbourLabels:
    """Labels of each row's nearest rows.

    Attributes:
        share: Share of them that has the row's label `(n,)`, in `[0, 1]`.
        rival: Most frequent other label among them `(n,)`; without one, the row's own.
    """

    share: NDArray[np.float32]
    rival: NDArray[np.int64]

    @property
    def contradicted(self) -> NDArray[np.bool_]:
        """Whether most of them have another label `(n,)`."""
        return self.share < _AGREED


def neighbour_labels(
    x: Rows, y: NDArray[np.int64], *, seed: int, executor: Executor | None = None
) -> NeighbourLabels:
    """Labels of each row's nearest rows, of at most 8,192 that are drawn once."""
    bank = np.sort(np.random.default_rng([seed, len(y)]).permutation(len(y))[:_BANK])
    share, rival = np.ones(len(y), dtype=np.float32), y.copy()
    classes = {label: np.flatnonzero(y == label) for label in np.unique(y).tolist()}
    parts = {label: moments(x, rows, executor) for label, rows in classes.items()}
    sums, products = (sum(part[i] for part in parts.values()) for i in (0, 1))
    for label, rows in classes.items():
        others = len(y) - len(rows)
        mean = (sums - parts[label][0]) / others
        scatter = (products - parts[label][1]) / others - np.outer(mean, mean)
        axes = leading(scatter, most=_COMPONENTS, kept=_KEPT).astype(np.float32)
        among = _Bank(rows=bank, labels=y[bank], points=x[bank] @ axes)
        blocks = cut(rows)
        points = (x[block] @ axes for block in blocks)
        found = apply(executor, _nearest, points, blocks, itertools.repeat(among))
        near = np.concatenate(list(found))
        share[rows], rival[rows] = (near == label).mean(axis=1), _rivals(near, label)
    return NeighbourLabels(share=share, rival=rival)


def _rivals(near: NDArray[np.int64], label: int) -> NDArray[np.int64]:
    """Most frequent label but one's own in each row of labels `(n, neighbours)`."""
    others = np.where(near == label, -1, near)
    alike = (others[:, :, None] == others[:, None, :]).sum(axis=2)
    first = np.where(others < 0, 0, alike).argmax(axis=1)
    rivals: NDArray[np.int64] = near[np.arange(len(near)), first]
    return rivals


def leading(scatter: NDArray[Any], *, most: int, kept: float) -> NDArray[np.float64]:
    """Leading principal components `(d, p)` that hold a share of the variance, in order."""
    values, vectors = np.linalg.eigh(scatter)
    held = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    count = min(most, int(np.searchsorted(held, kept)) + 1, len(values))
    return vectors[:, ::-1][:, :count]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bank:
    """Candidate neighbours: their rows, labels and coordinates."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    points: NDArray[np.float32]


def _nearest(
    points: NDArray[np.float32], rows: NDArray[np.int64], bank: _Bank
) -> NDArray[np.int64]:
    """Labels of the rows nearest to each point `(n, neighbours)`."""
    count = min(_NEIGHBOURS, len(bank.rows) - 1)
    lengths = (bank.points**2).sum(axis=1)
    labels = np.empty((len(rows), count), dtype=np.int64)
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distances = lengths - 2 * points[part] @ bank.points.T
        distances[rows[part, None] == bank.rows] = np.inf
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]
        labels[part] = bank.labels[near]
    return labels


def neighbour_votes(
    points: NDArray[np.float32], bank: NDArray[np.float32], y: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Votes of the nearest rows of a bank `(n, classes)`, weighted by inverse distance.

    Source: Dudani, "The distance-weighted k-nearest-neighbor rule" (1976), weights 1 / distance.
    """
    count = min(_NEIGHBOURS, len(bank))
    lengths = (bank**2).sum(axis=1)
    votes = np.zeros((len(points), classes))
    for start in range(0, len(points), _AT_ONCE):
        part = points[start : start + _AT_ONCE]
        squared = lengths - 2 * part @ bank.T + (part**2).sum(axis=1)[:, None]
        near = np.argpartition(squared, count - 1, axis=1)[:, :count]
        weights = 1 / np.sqrt(np.maximum(np.take_along_axis(squared, near, axis=1), 1e-6))
        rows = np.arange(start, start + len(part))[:, None]
        np.add.at(votes, (np.broadcast_to(rows, near.shape), y[near]), weights)
    votes /= votes.sum(axis=1, keepdims=True)
    return votes
