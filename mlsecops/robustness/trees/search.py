"""Branch and bound over the cells of one box: the largest value of a sum of trees, decided.

Grid, leaf values, limits → parts of the box, best bound first → beaten, proven or undecided

Every part has a bound: the sum of each tree's best leaf that the part still reaches. Where the best
leaves meet in one cell, the bound is attained there. Where they do not, the part is cut at the
threshold that separates the most weight. A local search from cell to cell runs first.

Source: Chen et al., "Robustness verification of tree-based models" (2019), cliques of leaves;
Devos, Meert and Davis, "Versatile verification of tree ensembles" (2021), best-first search.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.trees.cells import Grid

    Floats: TypeAlias = NDArray[np.float64]
    Indexes: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]

Decision: TypeAlias = Literal["beaten", "proven", "undecided"]
_AT_ONCE: Final = 24  # parts a step; chosen: amortises numpy's calls, keeps the order best-first
_STEPS: Final = 60  # moves of one local search; chosen: it ends earlier
_TRIES: Final = 3  # steps; chosen: a local search takes about as long as a step
_GAIN: Final = 1e-12  # scores; chosen: a move that gains less is rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """Decision about one target in one box, a cell that beats it or ties, and the work it took."""

    decision: Decision
    cell: Indexes | None
    work: int


class CellSearch:
    """One target in one box: what each leaf adds, and the sum's limits.

    Args:
        grid: The box's cells and leaves.
        worth: What each leaf adds to the sum `(r,)`.
        base: The sum before any of these leaves.
        proven: Limit that no cell passes if the box is proven.
        beaten: Limit above which a cell beats it, at least `proven`; between them is a tie.
    """

    def __init__(
        self, grid: Grid, worth: Floats, *, base: float, proven: float, beaten: float
    ) -> None:
        self.grid, self.limit, self.enough = grid, proven, beaten
        self.tree, self.worth, self.low, self.high = _without_constants(grid, worth)
        self.constant = base + _constant(grid, worth)
        self.starts = np.flatnonzero(np.diff(self.tree, prepend=-1))
        self.ball = bool(np.isfinite(grid.radius))

    def run(self, work: int) -> Outcome:
        """Decide, unless it takes more work: leaves and ranges of cells looked at, over all parts.

        Args:
            work: Most of them to look at.
        """
        if not len(self.tree):
            return self._constant_outcome()
        cell, value = self.climb(self.grid.own)
        if value > self.enough:
            return Outcome(decision="beaten", cell=cell, work=0)
        return self._branch(work)

    def _constant_outcome(self) -> Outcome:
        if self.constant > self.enough:
            return Outcome(decision="beaten", cell=self.grid.own, work=0)
        if self.constant > self.limit:
            return Outcome(decision="undecided", cell=self.grid.own, work=0)
        return Outcome(decision="proven", cell=None, work=0)

    def value(self, cell: Indexes) -> float:
        """The sum at one cell."""
        there = ((self.low <= cell) & (cell <= self.high)).all(axis=1)
        return self.constant + float(self.worth[there].sum())

    def climb(self, cell: Indexes) -> tuple[Indexes, float]:
        """Local search: change one column at a time while the sum grows."""
        grid, cell = self.grid, cell.copy()
        value = self.value(cell)
        ends = grid.start + np.arange(len(grid.start))  # one more place a column, for the ends
        spent = grid.distance(cell, cell) if self.ball else None
        for _ in range(_STEPS):
            if value > self.enough:
                break
            outside = (cell < self.low) | (cell > self.high)
            free = outside.sum(axis=1)[:, None] == outside  # all other columns agree
            leaf, column = np.nonzero(free)
            size = int(grid.cells.sum()) + len(grid.cells)
            weights = self.worth[leaf]
            steps = np.bincount(ends[column] + self.low[leaf, column], weights, size)
            steps -= np.bincount(ends[column] + self.high[leaf, column] + 1, weights, size)
            sums = np.cumsum(steps)
            sums = np.delete(sums, ends + grid.cells)
            if spent is not None:
                left = grid.radius**2 - spent.sum() + np.repeat(spent, grid.cells)
                sums[grid.cost**2 > left] = -np.inf
            best = int(sums.argmax())
            found = self.constant + float(sums[best])
            if found <= value + _GAIN:
                break
            where = int(np.searchsorted(grid.start, best, side="right")) - 1
            cell[where] = best - grid.start[where]
            value = found
            spent = grid.distance(cell, cell) if self.ball else None
        return cell, value

    def _branch(self, work: int) -> Outcome:
        parts, done, step = _Parts(self), 0, 0
        while parts.open:
            if done >= work:
                return Outcome(decision="undecided", cell=None, work=done)
            if parts.best <= self.enough:  # the best of all: nothing in the box is more than a tie
                cell = self._met(parts.pop(_AT_ONCE), above=self.limit)
                return Outcome(decision="undecided", cell=cell, work=done)
            part = parts.pop(_AT_ONCE)
            done += len(part.low) * (len(self.tree) + part.chosen.shape[1] * part.low.shape[1])
            step += 1
            cell = self._met(part, above=self.enough)
            if cell is None and step % _TRIES == 1:
                cell = self._tried(part)
            if cell is not None:
                return Outcome(decision="beaten", cell=cell, work=done)
            parts.cut(part)
        return Outcome(decision="proven", cell=None, work=done)

    def _met(self, part: _Part, *, above: float) -> Indexes | None:
        """A cell in which the best leaves of all trees meet, and the bound is attained."""
        meets = (part.joint_low <= part.joint_high).all(axis=1) & (part.bound > above)
        if self.ball:
            spent = self.grid.distance(part.joint_low, np.maximum(part.joint_low, part.joint_high))
            meets &= spent.sum(axis=1) <= self.grid.radius**2
        if not meets.any():
            return None
        first = int(meets.argmax())
        low, high = part.joint_low[first], part.joint_high[first]
        found: Indexes = np.clip(self.grid.own, low, high)
        return found

    def _tried(self, part: _Part) -> Indexes | None:
        """A cell that local search finds from where most weight of the first part agrees."""
        order = np.argsort(-part.weight[0])
        low, high = part.low[0].copy(), part.high[0].copy()
        for leaf in part.chosen[0][order]:
            new_low = np.maximum(low, self.low[leaf])
            new_high = np.minimum(high, self.high[leaf])
            if (new_low <= new_high).all():
                low, high = new_low, new_high
        start = np.clip(self.grid.own, low, high)
        if self.ball and self.grid.distance(start, start).sum() > self.grid.radius**2:
            return None
        cell, value = self.climb(start)
        return cell if value > self.enough else None


@dataclass(slots=True, kw_only=True, eq=False)
class _Part:
    """Parts under work: their ranges of cells, live leaves, and best leaf of each tree."""

    bound: Floats
    low: Indexes
    high: Indexes
    alive: Flags
    chosen: Indexes  # (parts, trees)
    weight: Floats  # (parts, trees): what another leaf may cost
    joint_low: Indexes
    joint_high: Indexes


class _Parts:
    """Parts of the box that may still pass the limit, best bound first."""

    def __init__(self, search: CellSearch) -> None:
        self.search = search
        grid = search.grid
        self.column_of = np.repeat(np.arange(len(grid.cells)), grid.cells)
        self.open: list[tuple[float, int, Any, Any, Any]] = []
        self.number = 0
        alive = np.ones((1, len(search.tree)), dtype=bool)
        shape = (1, len(grid.cells))
        self._push(np.zeros(shape, np.int64), np.broadcast_to(grid.cells - 1, shape).copy(), alive)

    @property
    def best(self) -> float:
        """Bound of the best part."""
        return -self.open[0][0]

    def pop(self, count: int) -> _Part:
        taken = [heapq.heappop(self.open) for _ in range(min(count, len(self.open)))]
        low, high, alive = (np.stack([each[i] for each in taken]) for i in (2, 3, 4))
        search = self.search
        worth = np.where(alive, search.worth, -np.inf)
        best = np.maximum.reduceat(worth, search.starts, axis=1)
        least = np.minimum.reduceat(np.where(alive, search.worth, np.inf), search.starts, axis=1)
        place = np.arange(len(search.tree))
        first = np.where(worth == best[:, search.tree], place, len(place))
        chosen = np.minimum.reduceat(first, search.starts, axis=1)
        return _Part(
            bound=best.sum(axis=1) + search.constant,
            low=low, high=high, alive=alive, chosen=chosen, weight=best - least + _GAIN,
            joint_low=np.maximum(low, search.low[chosen].max(axis=1)),
            joint_high=np.minimum(high, search.high[chosen].min(axis=1)),
        )  # fmt: skip

    def cut(self, part: _Part) -> None:
        """Replace parts by their halves."""
        column, cell = self._places(part)
        rows = np.arange(len(part.low))
        search = self.search
        for side in ("below", "above"):
            low, high = part.low.copy(), part.high.copy()
            if side == "below":
                high[rows, column] = cell
                alive = part.alive & (search.low.T[column] <= cell[:, None])
            else:
                low[rows, column] = cell + 1
                alive = part.alive & (search.high.T[column] > cell[:, None])
            self._push(low, high, alive)

    def _push(self, low: Indexes, high: Indexes, alive: Flags) -> None:
        search = self.search
        worth = np.where(alive, search.worth, -np.inf)
        bound = np.maximum.reduceat(worth, search.starts, axis=1).sum(axis=1) + search.constant
        kept = bound > search.limit
        if search.ball:
            spent = search.grid.distance(low, high).sum(axis=1)
            kept &= spent <= search.grid.radius**2
        for row in np.flatnonzero(kept).tolist():
            self.number += 1
            heapq.heappush(
                self.open, (-float(bound[row]), self.number, low[row], high[row], alive[row])
            )

    def _places(self, part: _Part) -> tuple[Indexes, Indexes]:
        """Column and last lower cell of the cut that separates the most weight on either side."""
        grid, (count, trees) = self.search.grid, part.chosen.shape
        size, shape = len(self.column_of), (*part.chosen.shape, len(grid.cells))
        first = np.maximum(self.search.low[part.chosen], part.low[:, None])
        last = np.minimum(self.search.high[part.chosen], part.high[:, None])
        shift = grid.start + size * np.arange(count)[:, None, None]
        weight = np.broadcast_to(part.weight[:, :, None], shape).ravel()

        def up_to(cells: Indexes) -> Floats:
            """Weight of the leaves whose cell is at most each cell."""
            found = np.bincount((cells + shift).ravel(), weight, count * size)
            return self._cumulated(found.reshape(count, size).astype(np.float64))

        before, after = up_to(last), part.weight.sum(axis=1)[:, None] - up_to(first)
        score = np.minimum(before, after)
        cell = np.arange(size) - grid.start[self.column_of]
        inside = (cell >= part.low[:, self.column_of]) & (cell < part.high[:, self.column_of])
        score[~inside] = -1
        best = score.argmax(axis=1)
        column = self.column_of[best]
        place = cell[best]
        if self.search.ball:
            self._nearer(part, score.max(axis=1) <= _GAIN * trees, column, place)
        return column, place

    def _nearer(self, part: _Part, agreed: Flags, column: Indexes, place: Indexes) -> None:
        """Where the best leaves meet outside the ball: cut off the column that is furthest."""
        grid = self.search.grid
        for row in np.flatnonzero(agreed).tolist():
            low, high = part.joint_low[row], part.joint_high[row]
            gained = grid.distance(low, high) - grid.distance(part.low[row], part.high[row])
            where = int(gained.argmax())
            column[row] = where
            place[row] = low[where] - 1 if low[where] > grid.own[where] else high[where]

    def _cumulated(self, by_cell: Floats) -> Floats:
        grid = self.search.grid
        sums: Floats = np.cumsum(by_cell, axis=1)
        before = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)[:, grid.start]
        found: Floats = sums - before[:, self.column_of]
        return found


def _constant(grid: Grid, worth: Floats) -> float:
    """Sum of the trees whose leaves in the box are all worth the same."""
    if not len(worth):
        return 0.0
    starts = np.flatnonzero(np.diff(grid.tree, prepend=-1))
    highest = np.maximum.reduceat(worth, starts)
    lowest = np.minimum.reduceat(worth, starts)
    return float(highest[highest == lowest].sum())


def _without_constants(grid: Grid, worth: Floats) -> tuple[Indexes, Floats, Indexes, Indexes]:
    """Leaves of the trees that matter, with their trees numbered anew."""
    if not len(worth):
        return grid.tree, worth, grid.low, grid.high
    starts = np.flatnonzero(np.diff(grid.tree, prepend=-1))
    differs = np.maximum.reduceat(worth, starts) != np.minimum.reduceat(worth, starts)
    kept = differs[grid.tree]
    tree = np.unique(grid.tree[kept], return_inverse=True)[1]
    return tree, worth[kept], grid.low[kept], grid.high[kept]
