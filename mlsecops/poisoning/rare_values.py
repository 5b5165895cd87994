"""Rare exact values shared by rows with contradicted labels.

rows, labels → histogram of each column by label → log lift of shared values → score per label

A trigger that replaces pixels has the same value in the same column of every copy, which a linear
model does not see among varied values. For each label the histograms of its contradicted rows are
compared with those of the other labels' rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut, every

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS: Final = 128  # levels of [0, 1]; chosen: coarser than a byte, against rounding
_LEAST: Final = 8  # rows that share a value; chosen
_SIGMAS: Final = 6.0  # standard deviations above the number expected from other labels; chosen
_LIFT: Final = 4.0  # times the rate among other labels; chosen
_CELLS: Final = 256  # most significant pairs of column and value; chosen


def shared_values(
    x: Rows, y: NDArray[np.int64], contradicted: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Score `(n, k)` of each row: sum of the log lifts of the label's shared values in it."""
    labels = np.unique(y).tolist()
    everywhere = _counts(x, np.arange(len(y)))
    found = {}
    for label in labels:
        mine = y == label
        rows = np.flatnonzero(mine & contradicted)
        if len(rows) < _LEAST:
            continue
        others = everywhere - _counts(x, np.flatnonzero(mine))
        found[label] = log_lifts(_counts(x, rows), len(rows), others, int((~mine).sum()))
    scores = np.zeros((len(y), int(y.max()) + 1), dtype=np.float32)
    for block in every(len(y)) if found else []:
        levels = _levels(x[block])
        for label, weights in found.items():
            for column in np.flatnonzero(weights.any(axis=1)):
                scores[block, label] += weights[column][levels[:, column]]
    return scores


def _levels(part: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(part * (_LEVELS - 1)).astype(np.uint8)


def _counts(x: Rows, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of rows with each value in each column `(d, levels)`."""
    width = x.shape[1]
    total = np.zeros(width * _LEVELS, dtype=np.int64)
    columns = np.arange(width) * _LEVELS
    for block in cut(rows):
        total += np.bincount((_levels(x[block]) + columns).ravel(), minlength=len(total))
    return total.reshape(width, _LEVELS)


def log_lifts(
    ours: NDArray[np.int64], count: int, theirs: NDArray[np.int64], others: int
) -> NDArray[Any]:
    """Log lift of each value that is shared by more rows than chance explains, else 0.

    Args:
        ours: Rows with each value, among those in question.
        count: Rows in question.
        theirs: Rows with each value, among the others.
        others: Other rows.
    """
    rate = (theirs + 1) / (others + _LEVELS)
    sigmas = (ours - count * rate) / np.sqrt(count * rate)
    lift = ours / (count * rate)
    shared = (ours >= _LEAST) & (sigmas > _SIGMAS) & (lift > _LIFT)
    bar = np.sort(np.where(shared, sigmas, 0), axis=None)[-_CELLS:][0]
    weights = np.where(shared & (sigmas >= bar), np.log(np.maximum(lift, 1)), 0)
    return weights.astype(np.float32)
