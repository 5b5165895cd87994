"""What a linear model tells of rows that it did not see."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.blocks import moments
from mlsecops.poisoning.rows import Rows, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["told_apart", "told_linearly"]

_FOLDS: Final = 3
_PENALTY: Final = 1e-2  # of the mean variance; keeps constant columns out of the answer


def told_linearly(
    features: Rows,
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    seed: int,
    executor: Executor | None = None,
) -> NDArray[np.float32]:
    """Ridge regression of "contradicted under this label" ``(n, k)``, of rows it did not see.

    Args:
        features: What a cause may be linear in ``(n, d)``.
        y: Labels ``(n,)``, in ``[0, k)``.
        contradicted: Whether a row's content contradicts its label ``(n,)``.
        seed: Seed of the folds.
        executor: Where blocks of rows are worked on.
    """
    target = np.zeros((len(y), int(y.max()) + 1), dtype=np.float32)
    target[np.flatnonzero(contradicted), y[contradicted]] = 1
    fold = np.random.default_rng([seed, 1]).integers(0, _FOLDS, len(y))
    joint = _Joint(features=features, target=target)
    parts = [moments(joint, np.flatnonzero(fold == i), executor)[1] for i in range(_FOLDS)]
    scores = np.empty_like(target)
    width = features.shape[1]
    for i, part in enumerate(parts):
        rest = sum(parts) - part
        means = rest[-1, :-1] / rest[-1, -1]
        spread = rest[:-1, :-1] / rest[-1, -1] - np.outer(means, means)
        weights = _ridge(spread[:width, :width], spread[:width, width:])
        for rows in cut(np.flatnonzero(fold == i)):
            scores[rows] = (features[rows] - means[:width]) @ weights
    return scores


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
    """Ridge regression of "is one of these" ``(n,)``, of rows it did not see.

    Args:
        features: Features ``(n, f)``.
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
        together = part[truth[seen]].sum(axis=0)
        weights = _ridge(part.T @ part / np.float32(len(part)), together / np.float32(len(part)))
        mine = fold == i
        scores[mine] = (features[mine] - mean) @ weights
    return scores / max(float(scores.std()), 1e-12)


def _ridge(gram: NDArray[Any], together: NDArray[Any]) -> NDArray[Any]:
    """Weights of a ridge regression, from mean products of columns, and of these with targets."""
    gram = gram.copy()
    gram[np.diag_indices_from(gram)] += _PENALTY * max(float(np.trace(gram)) / len(gram), 1e-12)
    weights: NDArray[Any] = np.linalg.solve(gram, together)
    return weights
