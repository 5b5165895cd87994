"""Boxes of inputs, and the leaves of an ensemble that each box reaches.

inputs, eps, bounds → `Boxes` → `reached` → leaves by tree → `bounds` on every target

A box is sound: what an input in it can reach is reached. The bound of a sum is the sum of each
tree's own maximum, which is exact for one tree and too high for several (interval arithmetic).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.trees.ensemble import Ensemble

    Floats: TypeAlias = NDArray[np.float64]
    Indexes: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]

_LEAST: Final = 5e-324  # IEEE 754, the smallest float64 above zero
_EXACT: Final = 2.0**20  # chosen: sums of millions of such fractions are exact in float64
_CELLS: Final = 8_000_000  # boxes × nodes at a time; chosen: bounds the memory to some 200 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """One box an input: each column from `low` to `high`, inclusive, and an L2 ball besides.

    Attributes:
        x: Inputs `(n, d)`, NaN where a value is missing.
        low: Smallest values `(n, d)`; a missing value and a category stay as they are.
        high: Largest values, likewise.
        radius: Largest L2 distance, or None where only the box limits.
        unit: What a distance of 1 is in each column `(d,)`, for the L2 ball.
        whole: Columns `(d,)` that hold whole numbers only.
    """

    x: Floats
    low: Floats
    high: Floats
    radius: float | None = None
    unit: Floats | None = None
    whole: Flags | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, which: Any) -> Boxes:
        """The boxes of selected inputs."""
        return replace(self, x=self.x[which], low=self.low[which], high=self.high[which])

    def fixed(self, columns: Sequence[int], values: Any) -> Boxes:
        """The boxes with columns that have one value each, which is no longer the input's own."""
        x, low, high = self.x.copy(), self.low.copy(), self.high.copy()
        for array in (x, low, high):
            array[:, list(columns)] = values
        return replace(self, x=x, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What an attacker wants of each box: a weighted sum of the scores above zero.

    Attributes:
        weights: Weights of the sums `(n, g, k)`.
        offset: Added to the weighted sum `(n, g)`.
        strict: Whether zero itself is no success `(n, g)`.
        slack: Distance from zero within which the library's rounding may decide.
    """

    weights: Floats
    offset: Floats
    strict: Flags
    slack: float

    def rows(self, which: Any) -> Targets:
        """The targets of selected boxes."""
        weights, offset = self.weights[which], self.offset[which]
        return Targets(weights=weights, offset=offset, strict=self.strict[which], slack=self.slack)

    def limits(self, exact: Flags) -> tuple[Floats, Floats]:
        """Sums up to which a box is proven, and above which it is beaten, each `(n, g)`."""
        zero = np.where(self.strict, 0.0, -_LEAST)
        sure = exact[:, None]
        return np.where(sure, zero, -self.slack), np.where(sure, zero, self.slack)


class Forest:
    """An ensemble, with its nodes by level and its leaves by tree."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.levels: list[Indexes] = []
        tree = np.zeros(len(ensemble.feature), dtype=np.int64)
        nodes, owners = ensemble.roots, np.arange(ensemble.trees)
        leaves = []
        while len(nodes):
            tree[nodes] = owners
            leaf = ensemble.feature[nodes] < 0
            leaves.append(nodes[leaf])
            nodes, owners = nodes[~leaf], owners[~leaf]
            if len(nodes):
                self.levels.append(nodes)
            nodes = np.concatenate([ensemble.left[nodes], ensemble.right[nodes]])
            owners = np.concatenate([owners, owners])
        self.tree = tree
        found = np.concatenate(leaves)
        self.leaves = found[np.argsort(tree[found], kind="stable")]
        self.starts = np.searchsorted(tree[self.leaves], np.arange(ensemble.trees))

    @cached_property
    def values(self) -> Floats:
        """Scores `(leaves, k)` in the order of `leaves`."""
        return self.ensemble.value[self.leaves]

    @cached_property
    def _rounded(self) -> Flags:
        """Whether a leaf's scores are no multiples of a fraction whose sums are exact."""
        scores = np.abs(np.concatenate([self.values, self.ensemble.base[None]])) * _EXACT
        inexact = (scores != np.floor(scores)) | (scores > _EXACT**2)
        rounded: Flags = inexact.any(axis=1)
        found: Flags = rounded[:-1] | rounded[-1]
        return found

    def exact(self, reach: Flags) -> Flags:
        """Whether the library adds without rounding in each box `(n,)`, so that a tie is one."""
        if self.ensemble.scale == "logits":  # of two classes, some libraries answer 0 by the second
            return np.zeros(len(reach), dtype=bool)
        if self.ensemble.trees == 1:
            return np.ones(len(reach), dtype=bool)
        met = reach[:, self.leaves] & self._rounded
        found: Flags = np.logical_not(met.any(axis=1))
        return found

    def chunks(self, count: int) -> Iterator[slice]:
        """Slices of boxes whose nodes fit the memory."""
        step = max(1, _CELLS // len(self.ensemble.feature))
        for start in range(0, count, step):
            yield slice(start, min(start + step, count))

    def reached(self, boxes: Boxes) -> Flags:
        """Whether each box reaches each node `(n, nodes)`."""
        ensemble = self.ensemble
        reach = np.zeros((len(boxes), len(ensemble.feature)), dtype=bool)
        reach[:, ensemble.roots] = True
        for nodes in self.levels:
            column, limit = ensemble.feature[nodes], ensemble.threshold[nodes]
            low, high = boxes.low[:, column], boxes.high[:, column]
            missing = np.isnan(boxes.x[:, column])
            default = ensemble.missing_left[nodes]
            left = np.where(missing, default, low <= limit)
            right = np.where(missing, ~default, high > limit)
            for number in self._categorical(nodes):
                node = np.full(len(boxes), nodes[number])
                left[:, number] = ensemble.goes_left(node, boxes.x[:, column[number]])
                right[:, number] = ~left[:, number]
            here = reach[:, nodes]
            reach[:, ensemble.left[nodes]] = here & left
            reach[:, ensemble.right[nodes]] = here & right
        return reach

    def _categorical(self, nodes: Indexes) -> list[int]:
        splits = self.ensemble.categories
        return [i for i, node in enumerate(nodes.tolist()) if node in splits] if splits else []

    def bounds(self, reach: Flags, targets: Targets) -> Floats:
        """Upper bound of each target's sum `(n, g)`, from the reached leaves of each tree."""
        base = self.ensemble.base
        leaves = reach[:, self.leaves]
        totals = targets.weights @ base + targets.offset
        for group in range(targets.weights.shape[1]):
            worth = targets.weights[:, group] @ self.values.T
            best = np.maximum.reduceat(np.where(leaves, worth, -np.inf), self.starts, axis=1)
            totals[:, group] += best.sum(axis=1)
        return totals
