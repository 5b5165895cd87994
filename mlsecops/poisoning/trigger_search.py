"""Which contradicted labels one cause tells apart from everything else.

Honest rows whose label looks wrong have a reason each of its own; poisoned rows have one in common.
Scores say which rows are contradicted under which label: a linear model out of fold, or another
way. Rows that score above nearly all rows of other labels are seeds; a linear model and boosted
trees on top of it then learn what the seeds share and find the other rows that have it.

Source:
    Friedman, "Greedy function approximation: a gradient boosting machine" (2001), for the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops._intervals import wilson
from mlsecops.poisoning.linear_model import told_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cause", "Focus", "find_causes"]

Focus = Callable[
    ["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"],
    "tuple[NDArray[Any], NDArray[Any]]",
]
"""Seeds, rows of other labels, rows → features of the rows for trees, and for a linear model."""

_RARE: Final = 0.999  # quantile of other labels' scores that a seed exceeds
_LEAST: Final = 8  # seeds worth asking about
_ROUNDS: Final = 3
_OTHERS: Final = 8192  # rows of other labels whose scores say how rare one is
_SAMPLE: Final = 4000  # rows of each side that trees learn from
_MEMBER: Final = 0.995  # quantile of other labels' scores that a contradicted row found exceeds
_LIKE: Final = 0.97  # the same, when the last round is over
_HOPELESS: Final = 0.25  # share of the seeds found in a round, below which there is no other
_SURELY: Final = 0.25  # quantile of the found rows' scores from which a row surely has the cause
_HARDLY: Final = 0.05  # the same, of a row whose content agrees with its label
_HOLDS: Final = 0.55  # strength of a cause; 0.52 was seen on honest data
_BEYOND_DOUBT: Final = 0.85  # strength from which no other way is asked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cause:
    """Rows of one label that something tells apart, though their content contradicts the label.

    Attributes:
        label: The label.
        rows: Indices of the rows.
        ranks: Share of other labels' rows that score lower `(rows,)`.
        seeds: How many rows the search began with.
        kept: Share of the seeds that the trees find again out of fold.
        contradicted: Share of the label's rows that surely have the cause and whose content
            contradicts the label.
        strength: Product of these two shares, each the lower end of its 95 % interval.
    """

    label: int
    rows: NDArray[np.int64]
    ranks: NDArray[np.float64]
    seeds: int
    kept: float
    contradicted: float
    strength: float


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
        scores: Ways to tell contradicted rows, each with a score for each label `(n, k)`.
        y: Labels `(n,)`, in `[0, k)`.
        contradicted: Whether a row's content contradicts its label `(n,)`.
        focus: Features for the trees, once seeds are known.
        seed: Seed of folds and samples.
    """
    causes = []
    for label in np.unique(y).tolist():
        mine = y == label
        ways = [_seeds(each[:, label], mine, contradicted) for each in scores]
        held = _held(
            _grown(label, way, mine, contradicted, focus=focus, seed=seed)
            for way in sorted(ways, key=lambda way: -int(way.sum()))
        )
        if held:
            causes.append(_joined(held))
    return causes


def _held(causes: Iterable[Cause | None]) -> list[Cause]:
    """The causes that hold; no further one is asked for after one beyond doubt."""
    held: list[Cause] = []
    for cause in causes:
        if cause is not None and cause.strength >= _HOLDS:
            held.append(cause)
            if cause.strength >= _BEYOND_DOUBT:
                break
    return held


def _joined(causes: list[Cause]) -> Cause:
    """The strongest cause, with the rows of all: each way sees some that others miss."""
    rows, where = np.unique(np.concatenate([each.rows for each in causes]), return_inverse=True)
    ranks = np.zeros(len(rows))
    np.maximum.at(ranks, where, np.concatenate([each.ranks for each in causes]))
    return replace(max(causes, key=lambda each: each.strength), rows=rows, ranks=ranks)


def _seeds(
    scores: NDArray[np.float32], mine: NDArray[np.bool_], contradicted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Contradicted rows that score above nearly all rows of other labels."""
    return mine & contradicted & (scores > np.quantile(scores[~mine], _RARE))


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
    rows = _looked_at(mine, seed=seed)
    seeds, mine, contradicted = seeds[rows], mine[rows], contradicted[rows]
    found = seeds
    for turn in range(_ROUNDS):
        if found.sum() < _LEAST or found[seeds].mean() < _HOPELESS:
            return None
        honest = mine & ~contradicted & ~found
        views, wide = focus(rows[found], rows[~mine], rows)
        scores = _told(views, wide, found, ~mine, honest, seed=seed + turn)
        others = np.sort(scores[~mine])
        ranks = np.searchsorted(others, scores) / len(others)
        found = mine & contradicted & (ranks > _MEMBER)
    if found.sum() < _LEAST:
        return None
    surely, hardly = np.quantile(scores[found], [_SURELY, _HARDLY])
    members = mine & ((contradicted & (ranks > _LIKE)) | ((scores >= hardly) & (ranks > _RARE)))
    kept, clash = found[seeds], contradicted[mine & (scores >= surely)]
    return Cause(
        label=label,
        rows=rows[members],
        ranks=ranks[members],
        seeds=len(kept),
        kept=float(kept.mean()),
        contradicted=float(clash.mean()),
        strength=_at_least(kept) * _at_least(clash),
    )


def _at_least(held: NDArray[np.bool_]) -> float:
    """Lower end of the 95 % interval of the share that holds."""
    return wilson(int(held.sum()), len(held)).low


def _looked_at(mine: NDArray[np.bool_], *, seed: int) -> NDArray[np.int64]:
    """The label's rows, and enough of the others to know how rare a score is."""
    others = np.random.default_rng([seed, 6]).permutation(np.flatnonzero(~mine))[:_OTHERS]
    return np.sort(np.concatenate([np.flatnonzero(mine), others]))


def _told(
    views: NDArray[Any],
    wide: NDArray[Any],
    positive: NDArray[np.bool_],
    *negatives: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    """Scores of trees that tell positive rows from the others, of rows they did not see."""
    ensemble = require("sklearn.ensemble")
    rng = np.random.default_rng([seed, 2])
    half = rng.integers(0, 2, len(views))
    sides = [rng.permutation(np.flatnonzero(rows))[:_SAMPLE] for rows in (positive, *negatives)]
    chosen = np.concatenate(sides)
    truth = np.arange(len(chosen)) < len(sides[0])
    features = np.hstack([views, told_apart(wide, chosen, truth, seed=seed)[:, None]])
    scores = np.empty(len(features))
    for i in (0, 1):
        learn = half[chosen] != i
        trees = ensemble.HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            learning_rate=0.2,
            l2_regularization=1.0,  # a leaf that is all of one side has no curvature to divide by
            min_samples_leaf=int(np.clip(truth.sum() // 8, 2, 10)),
            early_stopping=False,
            random_state=0,
        )
        trees.fit(features[chosen[learn]], truth[learn])
        scores[half == i] = trees.decision_function(features[half == i])
    return scores
