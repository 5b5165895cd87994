"""Out-of-fold scores of ridge regression.

rows, targets → moments per fold → weights from the other folds → scores of the left-out rows
"""

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

_FOLDS: Final = 3  # cross-validation folds; chosen
_AT_ONCE: Final = 256  # windows; chosen: bounds the memory of their equations
_PENALTY: Final = 1e-2  # of the mean variance; chosen: suppresses constant columns


def out_of_fold_scores(
    features: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    seed: int,
    windows: Sequence[NDArray[np.int64]] = (),
    executor: Executor | None = None,
) -> list[NDArray[np.float32]]:
    """Out-of-fold scores `(n, k)` for "the label is this one, and contradicted".

    Given windows, columns `(windows, columns)` for each size, a second score per row uses each
    label's best window alone.
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
        gram, cross = _penalised(spread[:width, :width]), spread[:width, width:]
        models = [np.linalg.solve(gram, cross)]
        if windows:
            counts = rest[-1, -1] / np.maximum(means[width:], 1e-12)
            models.append(_window_weights(np.linalg.inv(gram), models[0], counts, windows))
        for rows in cut(np.flatnonzero(fold == i)):
            centred = features[rows] - means[:width]
            for score, weights in zip(scores, models, strict=True):
                score[rows] = centred @ weights
    return scores


def _window_weights(
    precision: NDArray[Any],
    weights: NDArray[Any],
    counts: NDArray[Any],
    windows: Sequence[NDArray[np.int64]],
) -> NDArray[Any]:
    """Weights `(d, k)` if each label's rows differ in one window only, its best one.

    The other columns then only predict the window's values without the pattern. `precision` is the
    inverse covariance `(d, d)`; `counts` `(k,)` scale squared distances to chi-squared.
    """
    found = np.zeros_like(weights)
    best = np.full(len(counts), -np.inf)
    for columns in (part for each in windows for part in cut(each, _AT_ONCE)):
        inside = weights[columns]
        shift = np.linalg.solve(precision[columns[:, :, None], columns[:, None, :]], inside)
        freedom = columns.shape[1]
        excess = ((inside * shift).sum(axis=1) * counts - freedom) / (2 * freedom) ** 0.5
        for label in np.flatnonzero(excess.max(axis=0) > best):
            which = int(excess[:, label].argmax())
            best[label] = excess[which, label]
            found[:, label] = precision[:, columns[which]] @ shift[which, :, label]
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Joint:
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


def membership_scores(
    features: NDArray[np.float32],
    learnt: NDArray[np.int64],
    truth: NDArray[np.bool_],
    *,
    seed: int,
) -> NDArray[np.float32]:
    """Out-of-fold scores `(n,)` of membership, from the `truth` about the rows `learnt`."""
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
    penalised = gram.copy()
    penalised[np.diag_indices_from(gram)] += _PENALTY * max(
        float(np.trace(gram)) / len(gram), 1e-12
    )
    return penalised
