"""Tree ensemble of any library: one array of nodes, thresholds that compare as float64.

library's model or file → `readers` → Ensemble → scores; `robustness.trees` verifies and attacks it

A numeric split sends x left if `x <= threshold`, for every float64 x: the readers move each
library's own comparison (float32 or float64, `<` or `<=`) to the last float64 that it sends left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Indexes: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]

Scale: TypeAlias = Literal["probabilities", "logits", "values"]
Link: TypeAlias = Literal["identity", "log"]
_CELLS: Final = 4_000_000  # nodes × rows at a time; chosen: bounds the memory to some 100 MB
_FLOAT32: Final = 2.0**-24  # relative; IEEE 754 binary32, rounding of one operation


@dataclass(frozen=True, slots=True, kw_only=True)
class CategorySplit:
    """Categories of one split, as the numbers that stand in the inputs.

    Attributes:
        left: Categories that go left.
        right: Categories that go right.
        other_left: Whether a category of neither goes left.
    """

    left: frozenset[float]
    right: frozenset[float] = frozenset()
    other_left: bool = False

    def goes_left(self, codes: Floats) -> Flags:
        """Whether each category goes left; a missing one is the node's business."""
        in_left = np.isin(codes, list(self.left)) if self.left else np.zeros(codes.shape, bool)
        if not self.other_left:
            return in_left
        in_right = np.isin(codes, list(self.right)) if self.right else np.zeros(codes.shape, bool)
        found: Flags = in_left | ~in_right
        return found


@concise_repr("trees", "leaves", "features", "classes", "scale")
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """Sum, or mean, of trees whose leaves hold one score a class.

    Attributes:
        roots: Node of each tree's root `(t,)`.
        feature: Column that each node asks for `(m,)`; -1 for a leaf.
        threshold: Largest float64 that goes left `(m,)`.
        left: Child `(m,)`; a leaf's own index for a leaf.
        right: Child `(m,)`, likewise.
        missing_left: Whether a missing value (NaN) goes left `(m,)`.
        value: Scores `(m, k)` that a leaf adds; zero for a split.
        base: Scores `(k,)` before any tree.
        features: Columns of an input.
        scale: `"probabilities"`, `"logits"` (before the softmax) or `"values"` (a regression).
        categories: Node → its categories, for splits that ask for one.
        divisor: What the sum is divided by (the trees of a forest).
        link: Link function of a regression: its scores are the logarithms of its answers
            (Poisson, gamma, Tweedie), or the answers themselves.
        rounding: Largest error of the library's own sum, in units of the sum.
    """

    roots: Indexes
    feature: Indexes
    threshold: Floats
    left: Indexes
    right: Indexes
    missing_left: Flags
    value: Floats
    base: Floats
    features: int
    scale: Scale
    categories: Mapping[int, CategorySplit] = field(default_factory=dict)
    divisor: float = 1.0
    link: Link = "identity"
    rounding: float = 0.0

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @property
    def classes(self) -> int:
        """Number of scores of an answer."""
        return len(self.base)

    @property
    def leaves(self) -> int:
        """Number of leaves of all trees."""
        return int((self.feature < 0).sum())

    def leaf(self, x: Any) -> Indexes:
        """Leaf of each tree `(n, t)` for inputs `(n, d)`."""
        rows = self.rows(x)
        step = max(1, _CELLS // max(self.trees, 1))
        parts = [self._leaf(rows[start : start + step]) for start in range(0, len(rows), step)]
        return np.concatenate(parts) if parts else np.zeros((0, self.trees), np.int64)

    def scores(self, x: Any) -> Floats:
        """Scores `(n, k)` of inputs `(n, d)`, summed in float64."""
        leaves = self.leaf(x)
        total = np.tile(self.base, (len(leaves), 1))
        for tree in range(self.trees):
            total += self.value[leaves[:, tree]]
        return total / self.divisor

    def answers(self, x: Any) -> Floats:
        """Answers of a regression `(n, k)`: the scores, through the inverse of its link."""
        scores = self.scores(x)
        return np.exp(scores) if self.link == "log" else scores

    def rows(self, x: Any) -> Floats:
        """Inputs `(n, d)` as float64.

        Raises:
            UsageError: They have another number of columns.
        """
        rows: Floats = np.asarray(x, dtype=np.float64)
        rows = rows.reshape(len(rows), -1)
        if rows.shape[1] != self.features:
            raise UsageError(f"x: expected {self.features} columns, got {rows.shape[1]}")
        return rows

    def goes_left(self, node: Indexes, x: Floats) -> Flags:
        """Whether each value `x` goes left at its node; arrays of one shape."""
        there = np.where(np.isnan(x), self.missing_left[node], x <= self.threshold[node])
        for each, split in self.categories.items():
            mine = node == each
            if mine.any():
                values = x[mine]
                there[mine] = np.where(
                    np.isnan(values), self.missing_left[each], split.goes_left(values)
                )
        return there

    def with_columns(self, columns: Sequence[int], features: int) -> Ensemble:
        """The ensemble on wider inputs, of which it sees only some columns."""
        moved = np.append(np.asarray(columns, dtype=np.int64), -1)  # the last is a leaf's -1
        return replace(self, feature=moved[self.feature], features=features)

    def scaled(self, factor: float) -> Ensemble:
        """The ensemble with all scores multiplied."""
        factor /= self.divisor
        if factor == 1:
            return self
        return replace(
            self, value=self.value * factor, base=self.base * factor, divisor=1.0,
            rounding=self.rounding * abs(factor),
        )  # fmt: skip

    def averaged(self, count: float) -> Ensemble:
        """The ensemble whose sum is divided by a number; its sums stay exact."""
        return replace(self, divisor=self.divisor * count)

    def _leaf(self, rows: Floats) -> Indexes:
        node = np.tile(self.roots, (len(rows), 1))
        at = np.arange(len(rows))[:, None]
        while (inner := self.feature[node] >= 0).any():
            column = np.maximum(self.feature[node], 0)
            left = self.goes_left(node, rows[at, column])
            node = np.where(inner, np.where(left, self.left[node], self.right[node]), node)
        return node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Nodes of one tree with children by index in the tree, as a reader finds them."""

    feature: Indexes  # -1 for a leaf
    threshold: Floats
    left: Indexes
    right: Indexes
    missing_left: Flags
    value: Floats  # (nodes, k)
    categories: Mapping[int, CategorySplit] = field(default_factory=dict)


def joined(
    trees: Sequence[Nodes],
    *,
    base: Any,
    features: int,
    scale: Scale,
    link: Link = "identity",
    single: bool = False,
) -> Ensemble:
    """The ensemble of trees.

    Args:
        trees: At least one.
        base: Scores `(k,)` before any tree.
        features: Columns of an input.
        scale: What the scores are.
        link: Link function of a regression.
        single: Whether the library adds the scores in float32, else in float64.

    Raises:
        UsageError: There is no tree, or a node asks for a column that is not there.
    """
    if not trees:
        raise UsageError("tree ensemble: expected at least one tree, got none")
    sizes = [len(tree.feature) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    feature = np.concatenate([tree.feature for tree in trees]).astype(np.int64)
    if feature.max() >= features:
        raise UsageError(f"tree ensemble: expected {features} columns, a split asks for another")
    leaf = feature < 0
    own = np.arange(len(feature))
    left, right = (
        np.where(leaf, own, np.concatenate([getattr(t, side) + r for t, r in pairs(trees, roots)]))
        for side in ("left", "right")
    )
    _require_trees(np.concatenate([left[~leaf], right[~leaf]]), roots, len(feature))
    value = np.concatenate([tree.value for tree in trees]).astype(np.float64)
    value[~leaf] = 0
    start = np.asarray(base, dtype=np.float64)
    largest = np.abs(start).max() + np.add.reduce(
        [np.abs(tree.value).max(initial=0) for tree in trees]
    )
    step = _FLOAT32 if single else 2.0**-53  # IEEE 754, rounding of one addition
    return Ensemble(
        roots=roots,
        feature=feature,
        threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        left=left,
        right=right,
        missing_left=np.concatenate([tree.missing_left for tree in trees]).astype(bool),
        value=value,
        base=start,
        features=features,
        scale=scale,
        link=link,
        categories={
            int(root) + node: split
            for tree, root in pairs(trees, roots)
            for node, split in tree.categories.items()
        },
        rounding=float(largest) * (len(trees) + 1) * step,
    )


def _require_trees(children: Indexes, roots: Indexes, nodes: int) -> None:
    """Refuse nodes with two parents, which could form a circle, and nodes that are not there."""
    inside = len(children) == 0 or (children.min() >= 0 and children.max() < nodes)
    if not inside or len(np.unique(np.concatenate([children, roots]))) < len(children) + len(roots):
        raise UsageError("tree ensemble: expected trees, got a node without one parent of its own")


def pairs(trees: Sequence[Nodes], roots: Indexes) -> Sequence[tuple[Nodes, int]]:
    """Each tree with the node of its root."""
    return list(zip(trees, roots.tolist(), strict=True))


def summed(parts: Sequence[Ensemble]) -> Ensemble:
    """One ensemble whose scores are the sum of several, on the same inputs.

    Raises:
        UsageError: Their scores or inputs differ in kind.
    """
    parts = [part.scaled(1) for part in parts]
    first = parts[0]
    for part in parts[1:]:
        same = (part.features, part.scale, part.link, part.classes)
        if same != (first.features, first.scale, first.link, first.classes):
            raise UsageError("tree ensemble: expected parts with the same columns and scores")
    shifts = np.cumsum([0, *(len(part.feature) for part in parts)])
    moved = list(zip(parts, shifts.tolist(), strict=False))
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) + shift for part, shift in moved])
        for name in ("roots", "left", "right")
    }
    arrays |= {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("feature", "threshold", "missing_left", "value")
    }
    return replace(
        first,
        **arrays,
        base=reduce(np.add, [part.base for part in parts]),
        categories={
            node + shift: split for part, shift in moved for node, split in part.categories.items()
        },
        rounding=sum(part.rounding for part in parts),
    )


def last_of_float32(threshold: Any) -> Floats:
    """Largest float64 whose float32 is at most the threshold.

    Examples:
        >>> float(np.float32(last_of_float32([0.1])[0])) <= 0.1
        True

    Source: IEEE 754, rounding to nearest, ties to the even significand.
    """
    limit = np.asarray(threshold, dtype=np.float64)
    with np.errstate(over="ignore"):  # infinity is a threshold too
        below = limit.astype(np.float32)
        below = np.where(below > limit, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2
    even = (below.view(np.int32) & 1) == 0
    last: Floats = np.where(even, middle, np.nextafter(middle, -np.inf))
    return last
