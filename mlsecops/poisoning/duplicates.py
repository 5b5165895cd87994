"""Duplicate and near-duplicate rows with conflicting labels.

rows → `equal_rows`, `near_rows` → `conflicts`, `crowds` → Suspects

Equal rows have equal bytes. Near-duplicates often fall into the same cell of a grid of random
directions; only rows of one cell are compared, so that the cost is linear in the rows.

Source: Datar et al., "Locality-sensitive hashing scheme based on p-stable distributions" (2004).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.poisoning.flat_rows import Rows, cut, every
from mlsecops.poisoning.report import Suspect

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEAR: Final = 0.13  # of the median distance to the nearest row; as in cleanlab, Datalab
_BY_CHANCE: Final = 0.001  # share of honest rows that may be nearer to another; chosen
_MEASURED: Final = 1024  # rows whose nearest rows are looked for; chosen
_AMONG: Final = 8192  # rows among which they are looked for; chosen, as in `neighbour_labels`
_CROWDED: Final = 10  # copies of a row that are listed; chosen
_SHARE: Final = 0.2  # share of all rows; chosen: where more are such copies, they are usual
_EQUAL: Final = 1e-12  # squared distance, of the squared length; rounding of float64
_TABLES: Final = 4  # grids; chosen: each may miss a pair
_DIRECTIONS: Final = 12  # random directions of a grid; chosen
_WIDTH: Final = 8.0  # width of a cell, in the largest near distance; chosen
_CROWD: Final = 16  # following rows of its cell that a row is compared with; chosen


def equal_rows(flat: Rows) -> list[list[int]]:
    """Groups of rows with the same bytes, ordered by their first row.

    Examples:
        >>> equal_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
        [[0, 2]]
    """
    digests = b"".join(
        hashlib.sha256(row).digest() for block in every(len(flat)) for row in flat[block]
    )
    order, cell = _runs(np.frombuffer(digests, dtype=np.int64).reshape(len(flat), -1))
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    sizes = np.diff(starts, append=len(cell))
    several = sizes > 1
    groups = zip(starts[several].tolist(), sizes[several].tolist(), strict=True)
    return sorted(order[start : start + size].tolist() for start, size in groups)


def near_rows(flat: Rows, *, seed: int) -> list[tuple[int, int]]:
    """Pairs of rows that differ less than rows of this data set do by chance."""
    reach = near_distance(flat, seed=seed)
    if reach <= 0:
        return []
    rng = np.random.default_rng([seed, 5])
    pairs: set[tuple[int, int]] = set()
    for _ in range(_TABLES):
        directions = rng.standard_normal((flat.shape[1], _DIRECTIONS)).astype(np.float32)
        offset = rng.random(_DIRECTIONS)
        cells = np.concatenate(
            [
                np.floor(flat[block] @ directions / (_WIDTH * reach) + offset).astype(np.int64)
                for block in every(len(flat))
            ]
        )
        pairs |= _close(flat, _runs(cells), reach)
    return sorted(pairs)


def near_distance(flat: Rows, *, seed: int) -> float:
    """Largest distance of a near-duplicate: a part of the median distance to the nearest row.

    In few dimensions honest rows come close by chance. If distances `r` to the nearest row follow
    the local volume, the share nearer than `f` times the median is `1 - 2 ** -(f ** dimension)`.
    The part is the largest for which this share is small, and at most 0.13.

    Source: Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information" (2017), for the dimension, from the two nearest rows.
    """
    rows = np.random.default_rng([seed, 7]).permutation(len(flat))
    bank, asked = np.sort(rows[:_AMONG]), np.sort(rows[:_MEASURED])
    points, near = flat[bank].astype(np.float64), []  # differences of squares cancel in float32
    lengths = (points**2).sum(axis=1)
    for block in cut(asked, 128):
        part = flat[block].astype(np.float64)
        squared = lengths - 2 * part @ points.T + (part**2).sum(axis=1)[:, None]
        squared[block[:, None] == bank] = np.inf
        squared[squared <= _EQUAL * (1 + lengths)] = np.inf  # equal rows are another detector's
        near.append(np.sqrt(np.partition(squared, 1, axis=1)[:, :2]))
    distances = np.concatenate(near)
    distances = distances[np.isfinite(distances).all(axis=1)]
    if len(distances) < _CROWDED:
        return 0.0
    growth = np.log(distances[:, 1] / distances[:, 0])
    dimension = max(1.0, len(growth) / max(float(growth.sum()), 1e-9))
    factor = float((-np.log2(1 - _BY_CHANCE)) ** (1 / dimension))
    return float(np.median(distances[:, 0])) * min(_NEAR, factor)


def _runs(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.lexsort(cells.T)
    changed = (np.diff(cells[order], axis=0) != 0).any(axis=1)
    return order, np.concatenate([[0], np.cumsum(changed)])


def _close(
    flat: Rows, runs: tuple[NDArray[np.int64], NDArray[np.int64]], reach: float
) -> set[tuple[int, int]]:
    order, cell = runs
    pairs: set[tuple[int, int]] = set()
    for step in range(1, min(_CROWD + 1, len(order))):
        same = np.flatnonzero(cell[step:] == cell[:-step])
        if not len(same):
            break
        for block in cut(same):
            first, second = order[block], order[block + step]
            distance = np.linalg.norm(flat[first] - flat[second], axis=1)
            close = (distance > 0) & (distance <= reach)
            pairs |= {
                (min(a, b), max(a, b))
                for a, b in zip(first[close].tolist(), second[close].tolist(), strict=True)
            }
    return pairs


def conflicts(
    groups: list[list[int]], pairs: list[tuple[int, int]], labels: NDArray[np.int64]
) -> list[Suspect]:
    """Equal rows without the majority's label, and near-duplicates with different labels."""
    found: list[tuple[int, float, dict[str, float]]] = []
    for rows in groups:
        values, counts = np.unique(labels[rows], return_counts=True)
        majority = values[counts.argmax()] if (counts == counts.max()).sum() == 1 else None
        evidence = {"duplicate_labels": float(len(values)), "duplicates": float(len(rows))}
        if len(values) > 1:
            found += [(row, 0.9, evidence) for row in rows if labels[row] != majority]
    for a, b in pairs:
        if labels[a] != labels[b]:
            found += [(r, 0.7, {"near_duplicate_of": float(o)}) for r, o in ((a, b), (b, a))]
    kind = "conflicting-duplicate"
    return [
        Suspect(index=row, score=score, kind=kind, label=int(labels[row]), evidence=evidence)
        for row, score, evidence in found
    ]


def crowds(
    groups: list[list[int]], pairs: list[tuple[int, int]], labels: NDArray[np.int64]
) -> list[Suspect]:
    """Many copies or near copies of one row, in data that otherwise has few: stuffing.

    They do not contradict each other; training merely weighs the row by their number. Data that
    repeats many rows (a table of few categories, repeated measurements) is not accused.
    """
    links = [*pairs, *((rows[0], row) for rows in groups for row in rows[1:])]
    if not links:
        return []
    first, second = np.array(links).T
    shape = (len(labels), len(labels))
    graph = require("scipy.sparse").coo_matrix((np.ones(len(first)), (first, second)), shape=shape)
    _, member = require("scipy.sparse.csgraph").connected_components(graph, directed=False)
    sizes = np.bincount(member)
    crowded = np.flatnonzero(sizes >= _CROWDED)
    repeated, listed = sizes[sizes > 1].sum(), sizes[crowded].sum()
    if listed > _SHARE * len(labels) or listed < repeated / 2:
        return []
    return [
        Suspect(
            index=row,
            score=round(float(1 - 1 / sizes[member[row]]), 4),
            kind="outlier",
            label=int(labels[row]),
            evidence={"near_copies": float(sizes[member[row]])},
        )
        for row in np.flatnonzero(np.isin(member, crowded)).tolist()
    ]
