"""Search for a pattern shared by rows with contradicted labels.

scores per label → seed rows → boosted trees on a linear model → all rows with the seeds' pattern

Mislabelled rows of honest data have nothing in common; poisoned rows share one pattern. Rows that
score above nearly all rows of other labels are seeds; the trees learn what the seeds share and
find the other rows that have it. A trigger is put on rows of many classes; honest rows that are
alike and contradicted belong to one or two classes that are confused with the label.

Source:
    Friedman, "Greedy function approximation: a gradient boosting machine" (2001), for the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops._intervals import wilson
from mlsecops.poisoning.evenness import evenness
from mlsecops.poisoning.linear_model import membership_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

Focus = Callable[
    ["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"],
    "tuple[NDArray[Any], NDArray[Any]]",
]
"""Seeds, rows of other labels, rows → features of the rows for trees, and for a linear model."""

_RARE: Final = 0.999  # quantile of other labels' scores that a seed exceeds; chosen
_LEAST: Final = 8  # fewest seeds; chosen
_ROUNDS: Final = 3  # rounds of search; chosen
_OTHERS: Final = 8192  # rows of other labels whose scores give the quantiles; chosen
_SAMPLE: Final = 4000  # rows of each side that trees learn from; chosen
_FOUND: Final = 0.995  # quantile of other labels' scores that a contradicted row exceeds; chosen
_MEMBER: Final = 0.97  # the same quantile after the last round; chosen
_RECOVERED: Final = 0.25  # share of the seeds found in a round; chosen: below, the search ends
_CERTAIN: Final = 0.25  # quantile of the found rows' scores for certain members; chosen
_AGREEING: Final = 0.05  # the same quantile for members that agree with their label; chosen
STRONG: Final = 0.55  # strength of a reported pattern; honest data reached 0.52
_MANY: Final = 0.45  # evenness over classes; chosen: honest data reached 0.4, triggers 0.7
OF_FEW: Final = 0.75  # the same in texture and activations; chosen: honest data reached 0.64
_CONCLUSIVE: Final = 0.85  # strength at which no other scores are tried; chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """One view of the rows, in which a pattern may show.

    Attributes:
        scores: Scores of contradicted rows, one per label `(n, k)`.
        focus: Features for the trees, from the seeds.
        bar: Strength from which a pattern is reported.
        few: The same for rows that look like few labels; less than `bar` asks nothing more.
        turn: After a conclusive pattern, only searches of turn 1 run, among the rows that it does
            not explain.
    """

    scores: NDArray[np.float32]
    focus: Focus
    bar: float = STRONG
    few: float = 0.0
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """Rows of one label that share a pattern although their content contradicts the label.

    Attributes:
        label: The label.
        rows: Indices of the rows.
        ranks: Share of other labels' rows that score lower `(rows,)`.
        seeds: Number of seeds.
        kept: Share of the seeds that the trees find again out of fold.
        contradicted: Share of contradicted labels among the certain members.
        strength: Product of the lower bounds of these two shares' 95 % intervals.
    """

    label: int
    rows: NDArray[np.int64]
    ranks: NDArray[np.float64]
    seeds: int
    kept: float
    contradicted: float
    strength: float


def find_patterns(
    searches: Sequence[Search],
    y: NDArray[np.int64],
    contradicted: NDArray[np.bool_],
    *,
    seed: int,
    rivals: NDArray[np.int64] | None = None,
) -> list[Pattern]:
    """Patterns of contradicted labels, at most one per label.

    Args:
        searches: Alternative views of the rows.
        y: Labels `(n,)`, in `[0, k)`.
        contradicted: Whether a row's content contradicts its label `(n,)`.
        seed: Seed of folds and samples.
        rivals: Most frequent label near each row other than its own `(n,)`; without it, no search
            asks whether they are many.
    """
    many = partial(_of_many, y=y, rivals=rivals, contradicted=contradicted, seed=seed)
    patterns = []
    for label in np.unique(y).tolist():
        strong = list(_strong(searches, label, y == label, contradicted, many=many, seed=seed))
        if strong:
            patterns.append(_merged(strong, many=many))
    return patterns


def _of_many(
    pattern: Pattern,
    *,
    y: NDArray[np.int64],
    rivals: NDArray[np.int64] | None,
    contradicted: NDArray[np.bool_],
    seed: int,
) -> bool:
    """Whether the rows look like many labels; taken for granted where that is not known."""
    if rivals is None:
        return True
    members = pattern.rows[contradicted[pattern.rows]]
    others = np.bincount(y[y != pattern.label])
    return evenness(rivals[members], others, seed=seed) >= _MANY


def _strong(
    searches: Sequence[Search],
    label: int,
    mine: NDArray[np.bool_],
    contradicted: NDArray[np.bool_],
    *,
    many: Callable[[Pattern], bool],
    seed: int,
) -> Iterator[Pattern]:
    """Patterns to report; most searches are left out once one leaves no doubt."""
    bars = [np.quantile(each.scores[~mine, label], _RARE) for each in searches]
    seeds = [
        mine & contradicted & (each.scores[:, label] > bar)
        for each, bar in zip(searches, bars, strict=True)
    ]
    order = sorted(range(len(searches)), key=lambda i: (searches[i].turn, -int(seeds[i].sum())))
    explained = np.zeros(len(mine), dtype=np.bool_)
    subset = _subset(mine, seed=seed)
    for each, start in ((searches[i], seeds[i]) for i in order):
        if explained.any() and each.turn == 0:
            continue
        rows = subset[~explained[subset]]
        found = _grow(label, rows, start, mine, contradicted, focus=each.focus, seed=seed)
        if found is None or found.strength < each.bar:
            continue
        if found.strength >= each.few or many(found):
            yield found
            explained[found.rows] = found.strength >= _CONCLUSIVE


def _merged(patterns: list[Pattern], *, many: Callable[[Pattern], bool]) -> Pattern:
    """The strongest pattern with the rows of all: each score finds some that others miss.

    What others add to a strong one must look like many labels, or it is honest.
    """
    first, *others = sorted(patterns, key=lambda each: -each.strength)
    ranks = dict(zip(first.rows.tolist(), first.ranks.tolist(), strict=True))
    for each in others:
        added = replace(each, rows=each.rows[~np.isin(each.rows, list(ranks))])
        if first.strength >= OF_FEW and not many(added):
            continue
        for row, rank in zip(each.rows.tolist(), each.ranks.tolist(), strict=True):
            ranks[row] = max(rank, ranks.get(row, 0.0))
    rows = np.array(sorted(ranks), dtype=np.int64)
    return replace(first, rows=rows, ranks=np.array([ranks[row] for row in rows.tolist()]))


def _grow(
    label: int,
    rows: NDArray[np.int64],
    seeds: NDArray[np.bool_],
    mine: NDArray[np.bool_],
    contradicted: NDArray[np.bool_],
    *,
    focus: Focus,
    seed: int,
) -> Pattern | None:
    """The seeds' pattern with every one of the rows of their label that has it, or None."""
    seeds, mine, contradicted = seeds[rows], mine[rows], contradicted[rows]
    found = seeds
    for turn in range(_ROUNDS):
        if found.sum() < _LEAST or found[seeds].mean() < _RECOVERED:
            return None
        honest = mine & ~contradicted & ~found
        views, wide = focus(rows[found], rows[~mine], rows)
        scores = _tree_scores(views, wide, found, ~mine, honest, seed=seed + turn)
        others = np.sort(scores[~mine])
        ranks = np.searchsorted(others, scores) / len(others)
        found = mine & contradicted & (ranks > _FOUND)
    if found.sum() < _LEAST:
        return None
    certain, agreeing = np.quantile(scores[found], [_CERTAIN, _AGREEING])
    members = contradicted & (ranks > _MEMBER) | (scores >= agreeing) & (ranks > _RARE)
    members &= mine
    kept, clash = found[seeds], contradicted[mine & (scores >= certain)]
    return Pattern(
        label=label,
        rows=rows[members],
        ranks=ranks[members],
        seeds=len(kept),
        kept=float(kept.mean()),
        contradicted=float(clash.mean()),
        strength=_lower_bound(kept) * _lower_bound(clash),
    )


def _lower_bound(flags: NDArray[np.bool_]) -> float:
    return wilson(int(flags.sum()), len(flags)).low


def _subset(mine: NDArray[np.bool_], *, seed: int) -> NDArray[np.int64]:
    """All rows of the label, and a sample of the others for the quantiles."""
    others = np.random.default_rng([seed, 6]).permutation(np.flatnonzero(~mine))[:_OTHERS]
    return np.sort(np.concatenate([np.flatnonzero(mine), others]))


def _one_thread() -> AbstractContextManager[Any]:
    """One OpenMP thread: on busy cores, the threads of a small fit wait by spinning."""
    limits: AbstractContextManager[Any] = require("threadpoolctl").threadpool_limits(
        limits=1, user_api="openmp"
    )
    return limits


def _tree_scores(
    views: NDArray[Any],
    wide: NDArray[Any],
    positive: NDArray[np.bool_],
    *negatives: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, 2])
    half = rng.integers(0, 2, len(views))
    sides = [rng.permutation(np.flatnonzero(rows))[:_SAMPLE] for rows in (positive, *negatives)]
    chosen = np.concatenate(sides)
    truth = np.arange(len(chosen)) < len(sides[0])
    features = np.hstack([views, membership_scores(wide, chosen, truth, seed=seed)[:, None]])
    with _one_thread():
        return _fitted_scores(features, half, chosen, truth)


def _fitted_scores(
    features: NDArray[Any],
    half: NDArray[np.int64],
    chosen: NDArray[np.int64],
    truth: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Score each half by trees that learnt on the other."""
    ensemble = require("sklearn.ensemble")
    scores = np.empty(len(features))
    for i in (0, 1):
        learn = half[chosen] != i
        trees = ensemble.HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            learning_rate=0.2,
            l2_regularization=1.0,  # a pure leaf has no curvature to divide by
            min_samples_leaf=int(np.clip(truth.sum() // 8, 2, 10)),
            early_stopping=False,
            random_state=0,
        )
        trees.fit(features[chosen[learn]], truth[learn])
        scores[half == i] = trees.decision_function(features[half == i])
    return scores
