"""Label noise and outliers.

rows, labels → out-of-fold class probabilities (linear model, neighbours, trees) → `label_suspects`
rows, labels → residuals of class principal components → `outlier_suspects`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.poisoning.flat_rows import Rows, cut, every, robust_sigmas, some
from mlsecops.poisoning.neighbour_labels import leading, neighbour_votes
from mlsecops.poisoning.report import Suspect
from mlsecops.poisoning.row_blocks import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDS: Final = 3  # cross-validation folds; chosen
_COMPONENTS: Final = 50  # most principal components; chosen
_GAP: Final = 0.38  # relative probability by which another class exceeds the label; chosen
_TABLE_GAP: Final = 0.5  # the same in tables, whose classes overlap; chosen
_LOWEST: Final = 0.05  # probability; chosen: a class of which the model knows nothing
_FAR: Final = 6.0  # robust standard deviations of the log residual; chosen
_KEPT: Final = 0.9  # share of a class's variance; chosen
_CORE: Final = 0.9  # share of a class's rows, nearest its median; chosen
_ENOUGH: Final = 20  # rows of a class for an estimate of its spread; chosen


def label_suspects(
    x: Rows, y: NDArray[np.int64], *, table: bool, follows: NDArray[np.bool_] | None, seed: int
) -> list[Suspect]:
    """Rows whose label models that did not see them contradict.

    Args:
        x: Rows `(n, d)` on `[0, 1]`.
        y: Labels `(n,)`.
        table: Whether boosted trees are tried as well, and the better model is asked.
        follows: Rows that follow a rule of one column `(n,)`; they are not suspected.
        seed: Seed of folds.

    Source: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
    labels" (2021), section 3.1: probabilities are compared relative to the mean that each class's
    own rows reach, since a model is less sure of some classes. Here relative to its square root,
    which ranks as well where classes are of very different difficulty.
    """
    probabilities, votes = _out_of_fold(x, y, seed=seed)
    if table:
        trees = _tree_probabilities(x, y, seed=seed)
        probabilities = min(trees, probabilities, key=lambda each: _log_loss(each, y))
    every_row = np.arange(len(y))
    reached = np.bincount(y, probabilities[every_row, y]) / np.maximum(np.bincount(y), 1)
    relative = probabilities / np.sqrt(np.maximum(reached, _LOWEST))
    gap = relative.max(axis=1) - relative[every_row, y]
    suspected = gap > (_TABLE_GAP if table else _GAP)
    if follows is not None:
        suspected &= ~follows
    return [
        Suspect(
            index=int(row),
            score=round(float(min(gap[row], 1.0)), 4),
            kind="label-noise",
            label=int(y[row]),
            evidence={
                "label_gap": float(gap[row]),
                "label_neighbours": float(votes[row, y[row]]),
                "label_predicted": float(relative[row].argmax()),
            },
        )
        for row in np.flatnonzero(suspected)
    ]


def _log_loss(probabilities: NDArray[Any], y: NDArray[np.int64]) -> float:
    return -float(np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-3)).mean())


def _out_of_fold(x: Rows, y: NDArray[np.int64], *, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean of a linear model's probabilities and the neighbours' votes `(n, k)`, and the votes."""
    linear, selection = require("sklearn.linear_model"), require("sklearn.model_selection")
    probabilities = np.zeros((len(x), int(y.max()) + 1))
    votes = np.zeros_like(probabilities)
    splitter = selection.KFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
    splits = list(splitter.split(np.arange(len(x))))
    parts = [moments(x, test, None) for _, test in splits]
    for (train, test), part in zip(splits, parts, strict=True):
        sums, products = (sum(each[i] for each in parts) - part[i] for i in (0, 1))
        mean = sums / len(train)
        scatter = products / len(train) - np.outer(mean, mean)
        axes = leading(scatter, most=min(_COMPONENTS, len(train)), kept=1.0).astype(np.float32)
        low = np.concatenate([x[block] @ axes for block in cut(np.arange(len(x)))])
        low -= (mean @ axes).astype(np.float32)
        low /= max(float(low[train].std()), 1e-12)
        model = linear.LogisticRegression(max_iter=300, tol=1e-3).fit(low[train], y[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(low[test])
        votes[test] = neighbour_votes(low[test], low[some(train)], y[some(train)], votes.shape[1])
    return (probabilities + votes) / 2, votes


def _tree_probabilities(x: Rows, y: NDArray[np.int64], *, seed: int) -> NDArray[Any]:
    ensemble, selection = require("sklearn.ensemble"), require("sklearn.model_selection")
    values = np.concatenate([x[block] for block in every(len(y))])
    probabilities = np.zeros((len(y), int(y.max()) + 1))
    splitter = selection.KFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
    with require("threadpoolctl").threadpool_limits(limits=1):
        for train, test in splitter.split(values):
            trees = ensemble.HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=0
            ).fit(values[train], y[train])
            probabilities[np.ix_(test, trees.classes_)] = trees.predict_proba(values[test])
    return probabilities


def outlier_suspects(x: Rows, y: NDArray[np.int64]) -> list[Suspect]:
    """Rows that their class's principal components explain badly.

    The threshold is in robust standard deviations of the class's log residuals, so that it is
    comparable between classes and scales.
    """
    suspects: list[Suspect] = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < _ENOUGH:
            continue
        suspects += [
            Suspect(
                index=int(row),
                score=round(float(1 - _FAR / (2 * far)), 4),
                kind="outlier",
                label=int(label),
                evidence={"outlier_sigmas": float(far)},
            )
            for row, far in zip(rows, _distances(x, rows), strict=True)
            if far > _FAR
        ]
    return suspects


def _distances(x: Rows, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    centre, blocks = np.median(x[some(rows)], axis=0), cut(rows)
    lengths = np.concatenate([np.linalg.norm(x[block] - centre, axis=1) for block in blocks])
    core = rows[lengths <= np.quantile(lengths, _CORE)]  # outliers must not shape the components
    scatter = np.zeros((x.shape[1], x.shape[1]), dtype=np.float32)
    for block in cut(core):
        part = x[block] - centre
        scatter += part.T @ part
    kept = leading(scatter, most=len(rows) // 5, kept=_KEPT)
    logs = np.concatenate([_log_residuals(x[block] - centre, kept) for block in blocks])
    return robust_sigmas(logs, least=1e-3)


def _log_residuals(centred: NDArray[np.float32], kept: NDArray[Any]) -> NDArray[Any]:
    residual = centred - (centred @ kept) @ kept.T
    logs: NDArray[Any] = np.log(np.linalg.norm(residual, axis=1) + 1e-6)
    return logs
