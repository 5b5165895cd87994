"""Cells of one box: the grid that the thresholds inside it draw, and the leaves on that grid.

box, reached nodes → `Grid` → leaves as ranges of cells, points in cells

Inside a cell no split of the ensemble distinguishes two inputs, so that the search is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.trees.boxes import Boxes, Forest

    Floats: TypeAlias = NDArray[np.float64]
    Indexes: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The cells of one box and the leaves that it reaches, tree by tree.

    Attributes:
        columns: Columns of the input with more than one cell `(f,)`.
        edges: Thresholds inside the box, by column.
        start: First cell of each column in an array of all cells `(f,)`.
        cells: Number of cells of each column `(f,)`.
        own: Cell of the input itself `(f,)`.
        cost: Distance from the input to each cell, of all cells.
        low: First cell of each leaf `(r, f)`.
        high: Last cell of each leaf `(r, f)`.
        tree: Tree of each leaf `(r,)`, ascending.
        values: Scores of each leaf `(r, k)`.
        base: Scores of the trees of which the box reaches one leaf only, and the ensemble's base.
        radius: Largest L2 distance, or infinity.
    """

    columns: Indexes
    edges: tuple[Floats, ...]
    start: Indexes
    cells: Indexes
    own: Indexes
    cost: Floats
    low: Indexes
    high: Indexes
    tree: Indexes
    values: Floats
    base: Floats
    radius: float

    def distance(self, low: Indexes, high: Indexes) -> Floats:
        """Squared L2 distance from the input to ranges of cells `(…, f)`, by column."""
        nearest = np.clip(self.own, low, high)
        found: Floats = self.cost[self.start + nearest] ** 2
        return found

    def point(self, cell: Indexes, boxes: Boxes, row: int) -> Floats:
        """Input `(d,)` in a cell, as near to the original as a float32 can be."""
        point: Floats = boxes.x[row].copy()
        for number, column in enumerate(self.columns.tolist()):
            edges, index = self.edges[number], int(cell[number])
            above = max(
                edges[index - 1] if index else -np.inf,
                np.nextafter(boxes.low[row, column], -np.inf),
            )
            most = min(edges[index] if index < len(edges) else np.inf, boxes.high[row, column])
            whole = boxes.whole is not None and bool(boxes.whole[column])
            point[column] = _inside(point[column], above, most, whole=whole)
        return point


def _inside(value: float, above: float, most: float, *, whole: bool) -> float:
    """Nearest value of `(above, most]`: whole, or a float32 where there is one."""
    if above < value <= most:
        return value
    if whole:
        return float(np.floor(most) if value > most else np.floor(above) + 1)
    if value > most:
        nearest = float(np.float32(most))
        if nearest > most:
            nearest = float(np.nextafter(np.float32(nearest), np.float32(-np.inf)))
        return nearest if nearest > above else most
    nearest = float(np.float32(above))
    if nearest <= above:
        nearest = float(np.nextafter(np.float32(nearest), np.float32(np.inf)))
    return min(nearest, most)


def grid_of(forest: Forest, reach: Flags, boxes: Boxes, row: int) -> Grid:
    """The grid of one box, from the nodes that it reaches."""
    ensemble = forest.ensemble
    both = reach & (ensemble.feature >= 0) & reach[ensemble.left] & reach[ensemble.right]
    split = np.flatnonzero(both)
    asked = ensemble.feature[split]
    columns = np.unique(asked)
    edges = [np.unique(ensemble.threshold[split[asked == column]]) for column in columns]
    cells = np.array([len(each) + 1 for each in edges], dtype=np.int64)
    index = np.full(len(reach), -1)  # cell that each open split ends
    for column, edge in zip(columns, edges, strict=True):
        mine = split[asked == column]
        index[mine] = np.searchsorted(edge, ensemble.threshold[mine])
    leaves = forest.leaves[reach[forest.leaves]]
    low, high = _ranges(forest, reach, index, columns, cells)
    tree = forest.tree[leaves]
    several = np.bincount(tree, minlength=ensemble.trees)[tree] > 1
    x = boxes.x[row, columns]
    grid = Grid(
        columns=columns,
        edges=tuple(edges),
        start=np.cumsum(cells) - cells,
        cells=cells,
        own=np.array([np.searchsorted(e, v) for e, v in zip(edges, x, strict=True)], np.int64),
        cost=_costs(edges, x, np.ones(len(x)) if boxes.unit is None else boxes.unit[columns]),
        low=low[leaves[several]],
        high=high[leaves[several]],
        tree=np.unique(tree[several], return_inverse=True)[1],
        values=ensemble.value[leaves[several]],
        base=ensemble.base + ensemble.value[leaves[~several]].sum(axis=0),
        radius=np.inf if boxes.radius is None else boxes.radius,
    )
    return grid if boxes.radius is None else _near(grid)


class _ByNode:
    """Ranges `(nodes reached, f)`, asked for by the number of a node."""

    def __init__(self, row: Indexes, ranges: Indexes) -> None:
        self._row, self.ranges = row, ranges

    def __getitem__(self, nodes: Indexes) -> Indexes:
        return self.ranges[self._row[nodes]]


def _ranges(
    forest: Forest, reach: Flags, index: Indexes, columns: Indexes, cells: Indexes
) -> tuple[_ByNode, _ByNode]:
    """First and last cell of every reached node."""
    ensemble = forest.ensemble
    nodes = np.flatnonzero(reach)
    row, place = np.full(len(reach), -1), np.full(ensemble.features, -1)
    row[nodes], place[columns] = np.arange(len(nodes)), np.arange(len(columns))
    low = np.zeros((len(nodes), len(cells)), dtype=np.int64)
    high = np.broadcast_to(cells - 1, low.shape).copy()
    for level in forest.levels:
        here = level[reach[level]]
        for side in ("left", "right"):
            children = getattr(ensemble, side)[here]
            met = reach[children]
            child, parent = row[children[met]], here[met]
            low[child], high[child] = low[row[parent]], high[row[parent]]
            cut = index[parent] >= 0
            at, cell = place[ensemble.feature[parent[cut]]], index[parent[cut]]
            if side == "left":
                high[child[cut], at] = np.minimum(high[child[cut], at], cell)
            else:
                low[child[cut], at] = np.maximum(low[child[cut], at], cell + 1)
    return _ByNode(row, low), _ByNode(row, high)


def _costs(edges: list[Floats], x: Floats, unit: Floats) -> Floats:
    """Distance from the input to each cell of each column, in the column's unit."""
    parts = []
    for edge, value, one in zip(edges, x.tolist(), unit.tolist(), strict=True):
        below = np.concatenate([[-np.inf], edge]) - value  # > 0 where the cell is above
        above = value - np.concatenate([edge, [np.inf]])  # > 0 where it is below
        parts.append(np.maximum(0, np.maximum(below, above)) / one)
    return np.concatenate(parts) if parts else np.zeros(0)


def _near(grid: Grid) -> Grid:
    """The grid without leaves that lie outside the L2 ball."""
    inside = grid.distance(grid.low, grid.high).sum(axis=-1) <= grid.radius**2
    if inside.all():
        return grid
    return replace(
        grid, low=grid.low[inside], high=grid.high[inside], values=grid.values[inside],
        tree=np.unique(grid.tree[inside], return_inverse=True)[1],
    )  # fmt: skip
