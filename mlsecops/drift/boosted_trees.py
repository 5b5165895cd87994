"""Boosted regression trees as arrays, which can be written to a file without pickle.

    fitted HistGradientBoostingRegressor → Trees.of → predict (n, d) → (n,)

scikit-learn's only file format for its trees is pickle, which can run code. Here a node is a row of
numbers; a leaf points at itself, and children follow their parent, so that every walk from a root
ends.

Source: scikit-learn's `TreePredictor` for the meaning of a node: `x <= threshold` goes left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.errors import FormatRefused

_NODES: Final = ("feature", "threshold", "value", "left", "right", "missing_left")
_REALS: Final = ("threshold", "value")
_MOST_NODES: Final = 1 << 22  # nodes of all trees; chosen: 200 MB of arrays
_WIDEST: Final = 1 << 12  # nodes of a tree; chosen: bounds the depth, and so the time, of a walk


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """Sum of regression trees.

    Attributes:
        start: Constant term of the sum `(1,)`.
        feature: Column that a node compares `(trees, nodes)`, as all that follow.
        threshold: Values up to it go left.
        value: Answer of a leaf.
        left: Child of small values.
        right: Child of large values.
        missing_left: 1 where missing values go left.
    """

    start: Floats
    feature: Counts
    threshold: Floats
    value: Floats
    left: Counts
    right: Counts
    missing_left: Counts

    @classmethod
    def of(cls, model: Any) -> Trees:
        """Trees of a `HistGradientBoostingRegressor` that was fitted on numbers."""
        grown = [each.nodes for (each,) in model._predictors]  # noqa: SLF001 - it has no public face
        shape = len(grown), max((len(nodes) for nodes in grown), default=1)
        own = np.broadcast_to(np.arange(shape[1]), shape)
        integers = {name: np.zeros(shape, dtype=np.int64) for name in ("feature", "missing_left")}
        made = cls(
            start=np.asarray(model._baseline_prediction, dtype=np.float64).ravel(),  # noqa: SLF001 - as above
            threshold=np.zeros(shape),
            value=np.zeros(shape),
            left=own.copy(),
            right=own.copy(),
            **integers,
        )
        for tree, nodes in enumerate(grown):
            made._grow(tree, nodes)
        return made

    def _grow(self, tree: int, nodes: NDArray[Any]) -> None:
        inner = np.flatnonzero(nodes["is_leaf"] == 0)
        self.value[tree, : len(nodes)] = nodes["value"]
        for name, source in (
            ("feature", "feature_idx"),
            ("threshold", "num_threshold"),
            ("left", "left"),
            ("right", "right"),
            ("missing_left", "missing_go_to_left"),
        ):
            getattr(self, name)[tree, inner] = nodes[source][inner]

    def predict(self, table: Floats) -> Floats:
        """Answers `(n,)` to a table `(n, d)`; NaN is a missing value."""
        total = np.full(len(table), self.start[0])
        rows = np.arange(len(table))
        for tree in range(len(self.value)):
            places = np.zeros(len(table), dtype=np.int64)
            while True:
                seen = table[rows, self.feature[tree, places]]
                small = seen <= self.threshold[tree, places]
                small |= np.isnan(seen) & (self.missing_left[tree, places] == 1)
                children = np.where(small, self.left[tree, places], self.right[tree, places])
                if (children == places).all():
                    break
                places = children
            total += self.value[tree, places]
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        return {name: getattr(self, name) for name in ("start", *_NODES)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], features: int) -> Trees:
        """Rebuild trees from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        found = {name: arrays[name] for name in ("start", *_NODES)}
        shape = found["value"].shape
        kinds = {name: np.float64 if name in ("start", *_REALS) else np.int64 for name in found}
        if len(shape) != 2 or found["start"].shape != (1,):  # noqa: PLR2004 - trees by nodes
            raise FormatRefused("trees: expected arrays of trees by nodes, and one start")
        if not 0 < shape[1] <= _WIDEST or shape[0] * shape[1] > _MOST_NODES:
            raise FormatRefused(f"trees: expected 1 to {_WIDEST} nodes a tree, got shape {shape}")
        for name, each in found.items():
            if each.dtype != kinds[name] or (name != "start" and each.shape != shape):
                raise FormatRefused(f"trees: {name!r} has another shape or type than the others")
        _check(found, features)
        return cls(**found)


def _check(found: dict[str, NDArray[Any]], features: int) -> None:
    if not np.isfinite(found["start"]).all() or not np.isfinite(found["value"]).all():
        raise FormatRefused("trees: expected finite answers")
    if np.isnan(found["threshold"]).any():
        raise FormatRefused("trees: a threshold is not a number")
    if ((found["feature"] < 0) | (found["feature"] >= features)).any():
        raise FormatRefused(f"trees: a node compares none of the {features} columns")
    own, (left, right) = np.arange(found["left"].shape[1]), (found["left"], found["right"])
    leaves = (left == own) & (right == own)
    onward = (np.minimum(left, right) > own) & (np.maximum(left, right) < len(own))
    if not (leaves | onward).all():
        raise FormatRefused("trees: expected each child after its parent")
