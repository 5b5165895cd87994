"""Which contradicted labels one cause tells apart from everything else.

Honest rows whose label looks wrong have a reason each of its own; poisoned rows have one in common.
Scores say which rows are contradicted under which label: a linear model out of fold, or another
way. Rows that score above nearly all rows of other labels are seeds; boosted trees then
learn what the seeds share and find the other rows that have it.

Source:
    Friedman, "Greedy function approximation: a gradient boosting machine" (2001), for the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.poisoning.blocks import moments
from mlsecops.poisoning.rows import Rows, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cause", "Focus", "find_causes", "told_linearly"]

Focus = Callable[["NDArray[np.bool_]", "NDArray[np.bool_]"], "NDArray[Any]"]
"""Seeds and rows of other labels → features ``(n, f)`` to tell them apart with."""

_FOLDS: Final = 3
_PENALTY: Final = 1e-2  # of the mean variance; keeps constant columns out of the answer
_RARE: Final = 0.999  # quantile of other labels' scores that a seed exceeds
_LEAST: Final = 8  # seeds worth asking about
_ROUNDS: Final = 3
_SAMPLE: Final = 4000  # rows of each side that trees learn from
_HOLDS: Final = 0.45  # product of the shares `kept` and `contradicted`; 0.4 was seen on honest data
_SURELY: Final = 0.25  # quantile of the found rows' scores from which a row surely has the cause
_MEMBER: Final = 0.995  # quantile of other labels' scores that a contradicted member exceeds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cause:
    """Rows of one label that something tells apart, though their content contradicts the label.

    Attributes:
        label: The label.
        rows: Indices of the rows.
        ranks: Share of other labels' rows that score lower ``(rows,)``.
        seeds: How many rows the linear model told.
        kept: Share of the seeds that the trees find again out of fold.
        contradicted: Share of the label's rows with the cause whose content contradicts the label.
    """

    label: int
    rows: NDArray[np.int64]
    ranks: NDArray[np.float64]
    seeds: int
    kept: float
    contradicted: float


def find_causes(
    scores: Sequence[NDArray[np.float32]],
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    focus: Focus,
    seed: int,
) -> list[Cause]:
    """Causes of contradicted labels, at most one a label.

    Args:
        scores: Ways to tell contradicted rows, each with a score for each label ``(n, k)``.
        y: Labels ``(n,)``, in ``[0, k)``.
        contradicted: Whether a row's content contradicts its label ``(n,)``.
        focus: Features for the trees, once seeds are known.
        seed: Seed of folds and samples.
    """
    causes = []
    for label in np.unique(y).tolist():
        mine = y == label
        ways = [_seeds(each[:, label], mine, contradicted) for each in scores]
        for seeds in sorted(ways, key=lambda way: -int(way.sum())):
            cause = _grown(label, seeds, mine, contradicted, focus=focus, seed=seed)
            if cause is not None and cause.kept * cause.contradicted >= _HOLDS:
                causes.append(cause)
                break
    return causes


def _seeds(
    scores: NDArray[np.float32], mine: NDArray[np.bool_], contradicted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Contradicted rows that score above nearly all rows of other labels."""
    return mine & contradicted & (scores > np.quantile(scores[~mine], _RARE))


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
        gram = spread[:width, :width]
        gram += _PENALTY * max(float(np.trace(gram)) / width, 1e-12) * np.eye(width)
        weights = np.linalg.solve(gram, spread[:width, width:])
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


def _grown(
    label: int,
    seeds: NDArray[np.bool_],
    mine: NDArray[np.bool_],
    contradicted: NDArray[np.bool_],
    *,
    focus: Focus,
    seed: int,
) -> Cause | None:
    """The cause of the seeds, and every row of their label that has it; None if there is none."""
    found = seeds
    for turn in range(_ROUNDS):
        if found.sum() < _LEAST:
            return None
        honest = mine & ~contradicted & ~found
        scores = _told(focus(found, ~mine), found, ~mine, honest, seed=seed + turn)
        others = np.sort(scores[~mine])
        ranks = np.searchsorted(others, scores) / len(others)
        found = mine & contradicted & (ranks > _MEMBER)
    if found.sum() < _LEAST:
        return None
    surely = mine & (scores >= np.quantile(scores[found], _SURELY))
    rows = np.flatnonzero(found | (mine & (ranks > _RARE)))
    return Cause(
        label=label,
        rows=rows,
        ranks=ranks[rows],
        seeds=int(seeds.sum()),
        kept=float(found[seeds].mean()),
        contradicted=float(contradicted[surely].mean()),
    )


def _told(
    features: NDArray[Any],
    positive: NDArray[np.bool_],
    *negatives: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    """Out-of-fold scores of trees that tell positive rows from the others."""
    ensemble = require("sklearn.ensemble")
    rng = np.random.default_rng([seed, 2])
    half = rng.integers(0, 2, len(features))
    sides = [rng.permutation(np.flatnonzero(rows))[:_SAMPLE] for rows in (positive, *negatives)]
    chosen = np.concatenate(sides)
    truth = np.arange(len(chosen)) < len(sides[0])
    scores = np.empty(len(features))
    for i in (0, 1):
        learn = half[chosen] != i
        trees = ensemble.HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            learning_rate=0.2,
            min_samples_leaf=int(np.clip(truth.sum() // 8, 2, 10)),
            early_stopping=False,
            random_state=0,
        )
        trees.fit(features[chosen[learn]], truth[learn])
        for rows in cut(np.flatnonzero(half == i)):
            scores[rows] = trees.decision_function(features[rows])
    return scores
