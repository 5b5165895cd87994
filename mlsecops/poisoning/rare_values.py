"""Which contradicted rows share exact values that are rare elsewhere.

A trigger that replaces what was there has the same value at the same place in each copy, in the
midst of inputs where it stands out to no linear model. Per label, the values of contradicted rows
are counted at each place and compared with the other labels' rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut, every

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["shared_values"]

_LEVELS: Final = 128  # of [0, 1]; fewer than a byte's, so that a copy may be off by a rounding
_LEAST: Final = 8  # rows that share a value
_SIGMAS: Final = 6.0  # above the count that the other labels' rate predicts
_LIFT: Final = 4.0  # times that rate
_CELLS: Final = 256  # pairs of place and value, the most telling


def shared_values(
    x: Rows, y: NDArray[np.int64], contradicted: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """How much each row has of the values that its label's contradicted rows share `(n, k)`.

    Args:
        x: Flattened inputs `(n, d)` on `[0, 1]`.
        y: Labels `(n,)`, in `[0, k)`.
        contradicted: Whether a row's content contradicts its label `(n,)`.
    """
    labels = np.unique(y).tolist()
    everywhere = _counts(x, np.arange(len(y)))
    found = {}
    for label in labels:
        mine = y == label
        rows = np.flatnonzero(mine & contradicted)
        if len(rows) < _LEAST:
            continue
        others = everywhere - _counts(x, np.flatnonzero(mine))
        found[label] = _weights(_counts(x, rows), len(rows), others, int((~mine).sum()))
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
    """How many of the rows have each value at each place `(d, levels)`."""
    width = x.shape[1]
    total = np.zeros(width * _LEVELS, dtype=np.int64)
    places = np.arange(width) * _LEVELS
    for block in cut(rows):
        total += np.bincount((_levels(x[block]) + places).ravel(), minlength=len(total))
    return total.reshape(width, _LEVELS)


def _weights(
    ours: NDArray[np.int64], count: int, theirs: NDArray[np.int64], others: int
) -> NDArray[Any]:
    """Logarithm of the lift of each value that is shared by more than chance, else 0."""
    rate = (theirs + 1) / (others + _LEVELS)
    sigmas = (ours - count * rate) / np.sqrt(count * rate)
    lift = ours / (count * rate)
    telling = (ours >= _LEAST) & (sigmas > _SIGMAS) & (lift > _LIFT)
    bar = np.sort(np.where(telling, sigmas, 0), axis=None)[-_CELLS:][0]
    weights: NDArray[Any] = np.where(
        telling & (sigmas >= bar), np.log(np.maximum(lift, 1)), 0
    ).astype(np.float32)
    return weights
