"""Verification of a tree ensemble in boxes: proven, beaten by an input, or undecided.

boxes, targets → bound of all leaves reached → branch and bound in rounds → `Verdicts`

Sound: a proven box holds no input that succeeds, neither for sums in exact arithmetic nor, by the
slack of the targets, for sums that a library rounds. Exact for one tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from mlsecops.robustness.trees.cells import grid_of
from mlsecops.robustness.trees.search import CellSearch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlsecops.robustness.trees.boxes import Boxes, Forest, Targets
    from mlsecops.robustness.trees.cells import Grid

    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]
    Indexes: TypeAlias = NDArray[np.int64]

WORK: Final = 400_000_000  # leaves and cells looked at, in all; measured: some 40 s of one core
_FIRST: Final = 300_000  # leaves and cells of a box in the first round; measured: some 30 ms


@dataclass(slots=True, kw_only=True, eq=False)
class Verdicts:
    """What was found out about each box.

    Attributes:
        proven: Whether no input of the box succeeds `(n,)`.
        beaten: Whether an input is known that does `(n,)`.
        examples: That input `(n, d)`, or one that ties; the box's own where none is known.
    """

    proven: Flags
    beaten: Flags
    examples: Floats

    @property
    def open(self) -> Flags:
        """Whether each box is neither proven nor beaten `(n,)`."""
        found: Flags = ~(self.proven | self.beaten)
        return found


def verify(
    forest: Forest,
    boxes: Boxes,
    targets: Targets,
    *,
    work: int = WORK,
    progress: Callable[[int, int], object] | None = None,
) -> Verdicts:
    """Decide each box, as far as the work goes.

    Args:
        forest: The ensemble.
        boxes: Boxes `(n, d)`.
        targets: What succeeds, of each box.
        work: Leaves and cells to look at over all boxes; what is left then is undecided.
        progress: Called with (boxes decided, boxes).
    """
    task = _Task(forest, boxes, targets)
    left, given = np.arange(len(boxes)), _FIRST
    while len(left):
        work -= task.decide(left, given)
        left = left[task.found.open[left]]
        if progress is not None:
            progress(len(boxes) - len(left), len(boxes))
        further = work // max(len(left), 1)
        if further <= 2 * given or forest.ensemble.trees == 1:
            break
        given = min(further, 8 * given)
    return task.found


class _Task:
    """Boxes under verification, with what is found out about them."""

    def __init__(self, forest: Forest, boxes: Boxes, targets: Targets) -> None:
        self._forest, self._boxes, self._targets = forest, boxes, targets
        none = np.zeros(len(boxes), dtype=bool)
        self.found = Verdicts(proven=none, beaten=none.copy(), examples=boxes.x.copy())

    def decide(self, rows: Indexes, given: int) -> int:
        """Decide boxes with so much work for each; the work spent."""
        chunks = self._forest.chunks(len(rows))
        return sum(self._chunk(rows[chunk], given) for chunk in chunks)

    def _chunk(self, rows: Indexes, given: int) -> int:
        boxes, targets = self._boxes.rows(rows), self._targets.rows(rows)
        reach = self._forest.reached(boxes)
        bounds = self._forest.bounds(reach, targets)
        proven, beaten = targets.limits(self._forest.exact(reach))
        may = bounds > proven
        self.found.proven[rows] = ~may.any(axis=1)
        spent = 0
        for row in np.flatnonzero(may.any(axis=1)).tolist():
            grid = grid_of(self._forest, reach[row], boxes, row)
            groups = np.argsort(-bounds[row], kind="stable")
            searches = []
            for group in groups[may[row, groups]].tolist():
                weights, offset = targets.weights[row, group], targets.offset[row, group]
                searches.append(
                    CellSearch(
                        grid, grid.values @ weights, base=float(grid.base @ weights + offset),
                        proven=float(proven[row, group]), beaten=float(beaten[row, group]),
                    )
                )  # fmt: skip
            spent += self._row(int(rows[row]), grid, searches, given, boxes.rows([row]))
        return spent

    def _row(self, row: int, grid: Grid, searches: list[CellSearch], given: int, box: Boxes) -> int:
        """Decide one box: it is beaten by any target, and proven by all."""
        spent, proven = 0, True
        for search in searches:
            outcome = search.run(given)
            spent += outcome.work
            proven &= outcome.decision == "proven"
            if outcome.cell is not None:
                self.found.examples[row] = grid.point(outcome.cell, box, 0)
            if outcome.decision == "beaten":
                self.found.beaten[row] = True
                break
        self.found.proven[row] = proven
        return spent
