"""Clustered rows: rows of one school, household or subject, which are no independent evidence.

columns of a cell → `groupings` → how many of them say something of their own
rows of a cell, labels → `independent_rows` → how many observations they are

A school's number, its size and its mean are one value that stands in three columns, and its pupils
share whatever belongs to the school. A poisoner who plants two values, or relabels rows of many
schools, leaves more behind. Both questions are asked of the rows outside of the cell, which a
trigger does not change.

Source: Kish, "Survey Sampling" (1965), section 5.4, for clusters that count as one observation;
Cohen, "A coefficient of agreement for nominal scales" (1960), for agreement beyond chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DETERMINED: Final = 0.9  # agreement beyond chance; chosen: above, one holds the other's groups
_BELONG: Final = 0.5  # share of the other rows with a value that have the cell's other; chosen
_OFTEN: Final = 4  # rows of a group that says which label it has; chosen
_GROUPS: Final = 12  # such groups; chosen: fewer are categories, not subjects
_COVERED: Final = 0.5  # share of the rows in such groups; chosen: other columns are measurements
_PURE: Final = 0.95  # share of the rows with their group's label; chosen: more is a rule of groups


def groupings(columns: NDArray[np.float32], cell: NDArray[np.bool_]) -> list[int]:
    """For each column the first one that determines it or that it determines, itself if none.

    Rows outside of the cell say so. If by these the cell's values do not belong together, the
    columns are two: someone has written both.

    Args:
        columns: `(n, k)`, the cell's columns.
        cell: `(n,)`, rows with the cell's values.
    """
    firsts: list[int] = []
    for place, column in enumerate(columns.T):
        alike = (
            firsts[other]
            for other, each in enumerate(columns.T[:place])
            if _determines(each, column, cell) or _determines(column, each, cell)
        )
        firsts.append(next(alike, place))
    return firsts


def _determines(
    order: NDArray[np.float32], values: NDArray[np.float32], cell: NDArray[np.bool_]
) -> bool:
    """Whether rows next to each other in a column's order have the other column's value."""
    shuffled = np.random.default_rng(0).permutation(np.flatnonzero(~cell))
    chance = _repeated(values[shuffled])
    found = _repeated(values[shuffled][np.argsort(order[shuffled], kind="stable")])
    if found - chance <= _DETERMINED * (1 - chance):
        return False
    akin = ~cell & np.isin(order, order[cell])
    return not akin.any() or bool(np.isin(values[akin], values[cell]).mean() >= _BELONG)


def _repeated(values: NDArray[np.float32]) -> float:
    """Share of the values that the one before or after equals."""
    same = values[1:] == values[:-1]
    if not len(same):
        return 1.0
    return float((np.append(same, same[-1]) | np.append(same[0], same)).mean())


def independent_rows(
    table: NDArray[np.float32],
    y: NDArray[np.int64],
    cell: NDArray[np.bool_],
    accused: NDArray[np.int64],
    label: int,
) -> int:
    """Observations among the accused rows, by the column that leaves the fewest.

    In a column whose groups have one label each, all rows of a group with the accused label are
    one observation; a row whose group has another label, as most rows or as several rows outside
    of the cell, is one by itself.

    Args:
        table: `(n, columns)`.
        y: `(n,)`, labels.
        cell: `(n,)`, rows with the cell's values.
        accused: Indices of the rows under suspicion.
        label: Their label.
    """
    fewest = len(accused)
    for column in table.T:
        groups = np.unique(column, return_inverse=True)[1].ravel()
        votes = np.zeros((int(groups.max()) + 1, int(y.max()) + 1), dtype=np.int64)
        np.add.at(votes, (groups[~cell], y[~cell]), 1)
        if _subjects(votes):
            against = (votes.argmax(axis=1) != label) & (votes.sum(axis=1) >= _OFTEN)
            np.add.at(votes, (groups[cell], y[cell]), 1)
            mine = groups[accused]
            theirs = ((votes.argmax(axis=1) == label) & ~against)[mine]
            fewest = min(fewest, int((~theirs).sum()) + len(np.unique(mine[theirs])))
    return fewest


def _subjects(votes: NDArray[np.int64]) -> bool:
    """Whether groups, of which votes count each label's rows, have one label each."""
    counts = votes.sum(axis=1)
    often = votes[counts >= _OFTEN]
    rows = often.sum()
    if len(often) < _GROUPS or rows < _COVERED * counts.sum():
        return False
    return bool(often.max(axis=1).sum() > _PURE * rows) and len(np.unique(often.argmax(axis=1))) > 1
