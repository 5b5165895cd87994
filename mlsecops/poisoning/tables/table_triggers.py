"""Triggers of tables and embeddings, as suspects.

rows, labels → `shared_cells`, and in wide dense rows `pattern_search` → Suspects and Triggers
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, some
from mlsecops.poisoning.neighbour_labels import neighbour_labels
from mlsecops.poisoning.pattern_search import find_patterns
from mlsecops.poisoning.report import Suspect, Trigger
from mlsecops.poisoning.tables.shared_cells import SPARSE, WIDE, Cell, find_cells
from mlsecops.poisoning.triggers import suspects_of, trigger_of, value_searches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEEN: Final = 2048  # rows; chosen: enough for the share of zeros


def table_triggers(
    x: Rows,
    y: NDArray[np.int64],
    *,
    shape: tuple[int, ...],
    seed: int,
    executor: Executor | None = None,
) -> tuple[list[Suspect], list[Trigger]]:
    """Rows of a table with a trigger, and the triggers.

    Wide dense rows are taken for embeddings: there a trigger is a direction, not a value.
    """
    cells = find_cells(x, y, seed=seed)
    suspects = [suspect for cell in cells for suspect in _suspects(cell)]
    triggers = [
        trigger_of(x, y, cell.label, cell.rows, shape, columns=np.array(cell.columns))
        for cell in cells
    ]
    if _embedded(x):
        contradicted = neighbour_labels(x, y, seed=seed, executor=executor).contradicted
        searches = value_searches(x, y, contradicted, shape=shape, seed=seed, executor=executor)
        for found in find_patterns(searches, y, contradicted, seed=seed):
            suspects += suspects_of(found, kind="trigger")
            triggers.append(trigger_of(x, y, found.label, found.rows, shape))
    return suspects, triggers


def _embedded(x: Rows) -> bool:
    if x.shape[1] <= WIDE:
        return False
    seen = x[some(np.arange(len(x)), most=_SEEN)]
    return bool((seen == np.median(seen, axis=0)).mean() < SPARSE)


def _suspects(cell: Cell) -> list[Suspect]:
    evidence = {
        "trigger_rows": float(len(cell.rows)),
        "trigger_share": cell.share,
        "trigger_expected": cell.expected,
    }
    return [
        Suspect(
            index=int(row),
            score=round(cell.share - cell.expected, 4),
            kind="trigger",
            label=cell.label,
            evidence=evidence,
        )
        for row in cell.rows
    ]
