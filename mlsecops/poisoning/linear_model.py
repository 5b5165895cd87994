"""What a linear model tells of rows that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut
from mlsecops.poisoning.row_blocks import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["told_apart", "told_linearly"]

_FOLDS: Final = 3
_AT_ONCE: Final = 256  # windows whose equations are in memory
_PENALTY: Final = 1e-2  # of the mean variance; keeps constant columns out of the answer


def told_linearly(
    features: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    seed: int,
    windows: Sequence[NDArray[np.int64]] = (),
    executor: Executor | None = None,
) -> list[NDArray[np.float32]]:
    """Ridge regression of "contradicted under this label" `(n, k)`, of rows it did not see.

    Given windows, there is a second one, which may look for a label's cause in one window alone.

    Args:
        features: What a cause may be linear in `(n, d)`.
        y: Labels `(n,)`, in `[0, k)`.
        contradicted: Whether a row's content contradicts its label `(n,)`.
        seed: Seed of the folds.
        windows: Columns of each window `(windows, columns)`, an array for each size.
        executor: Where blocks of rows are worked on.
    """
    target = np.zeros((len(y), int(y.max()) + 1), dtype=np.float32)
    target[np.flatnonzero(contradicted), y[contradicted]] = 1
    fold = np.random.default_rng([seed, 1]).integers(0, _FOLDS, len(y))
    joint = _Joint(features=features, target=target)
    parts = [moments(joint, np.flatnonzero(fold == i), executor)[1] for i in range(_FOLDS)]
    scores = [np.empty_like(target) for _ in range(2 if windows else 1)]
    width = features.shape[1]
    for i, part in enumerate(parts):
        rest = sum(parts) - part
        means = rest[-1, :-1] / rest[-1, -1]
        spread = rest[:-1, :-1] / rest[-1, -1] - np.outer(means, means)
        gram, together = _penalised(spread[:width, :width]), spread[:width, width:]
        ways = [np.linalg.solve(gram, together)]
        if windows:
            counts = rest[-1, -1] / np.maximum(means[width:], 1e-12)
            ways.append(_in_a_window(np.linalg.inv(gram), ways[0], counts, windows))
        for rows in cut(np.flatnonzero(fold == i)):
            centred = features[rows] - means[:width]
            for told, weights in zip(scores, ways, strict=True):
                told[rows] = centred @ weights
    return scores


def _in_a_window(
    precision: NDArray[Any],
    weights: NDArray[Any],
    counts: NDArray[Any],
    windows: Sequence[NDArray[np.int64]],
) -> NDArray[Any]:
    """Weights `(d, k)` if a label's rows differ in one window alone, for each label's best one.

    The other columns then only say what would be in the window without a cause.

    Args:
        precision: Inverse of the columns' covariance `(d, d)`.
        weights: Weights `(d, k)` if they may differ in every column.
        counts: What makes a squared distance of a label's rows one of chi-squared `(k,)`.
        windows: Columns of each window `(windows, columns)`, an array for each size.
    """
    found = np.zeros_like(weights)
    best = np.full(len(counts), -np.inf)
    for columns in (part for each in windows for part in _portions(each)):
        inside = weights[columns]
        shift = np.linalg.solve(precision[columns[:, :, None], columns[:, None, :]], inside)
        freedom = columns.shape[1]
        excess = ((inside * shift).sum(axis=1) * counts - freedom) / (2 * freedom) ** 0.5
        for label in np.flatnonzero(excess.max(axis=0) > best):
            which = int(excess[:, label].argmax())
            best[label] = excess[which, label]
            found[:, label] = precision[:, columns[which]] @ shift[which, :, label]
    return found


def _portions(windows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [windows[i : i + _AT_ONCE] for i in range(0, len(windows), _AT_ONCE)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Joint:
    """Features, targets and a one, side by side in the rows that are asked for."""

    features: Rows
    target: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.target), self.features.shape[1] + self.target.shape[1] + 1

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        ones = np.ones((len(rows), 1), dtype=np.float32)
        return np.hstack([self.features[rows], self.target[rows], ones])


def told_apart(
    features: NDArray[np.float32],
    learnt: NDArray[np.int64],
    truth: NDArray[np.bool_],
    *,
    seed: int,
) -> NDArray[np.float32]:
    """Ridge regression of "is one of these" `(n,)`, of rows it did not see.

    Args:
        features: Features `(n, f)`.
        learnt: Rows to learn from.
        truth: Whether each of them is one.
        seed: Seed of the folds.
    """
    fold = np.random.default_rng([seed, 4]).integers(0, _FOLDS, len(features))
    scores = np.empty(len(features), dtype=np.float32)
    for i in range(_FOLDS):
        seen = fold[learnt] != i
        part = features[learnt[seen]]
        mean = part.mean(axis=0)
        part = part - mean
        gram = _penalised(part.T @ part / np.float32(len(part)))
        weights = np.linalg.solve(gram, part[truth[seen]].sum(axis=0) / np.float32(len(part)))
        mine = fold == i
        scores[mine] = (features[mine] - mean) @ weights
    return scores / max(float(scores.std()), 1e-12)


def _penalised(gram: NDArray[Any]) -> NDArray[Any]:
    """Mean products of columns with ridge regression's penalty."""
    penalised = gram.copy()
    penalised[np.diag_indices_from(gram)] += _PENALTY * max(
        float(np.trace(gram)) / len(gram), 1e-12
    )
    return penalised
