"""Which labels the rest of the data set contradicts, and which rows are unlike their class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.poisoning.flat_rows import Rows, cut, some
from mlsecops.poisoning.neighbour_labels import leading
from mlsecops.poisoning.report import Suspect
from mlsecops.poisoning.row_blocks import moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["label_suspects", "outlier_suspects"]

_FOLDS: Final = 3
_COMPONENTS: Final = 50
_GAP: Final = 0.25  # by which another class's probability exceeds the label's
_AGREE: Final = 0.34  # share of neighbours with the label, at most
_FAR: Final = 6.0  # robust standard deviations of the log residual
_KEPT: Final = 0.9  # of a class's variance
_CORE: Final = 0.9  # of a class's rows, those nearest its median
_TO_SIGMA: Final = 1.4826  # MAD to standard deviation, for a normal law
_ENOUGH: Final = 20  # rows of a class, to speak of its spread


def label_suspects(
    x: Rows, y: NDArray[np.int64], agree: NDArray[np.float32], *, seed: int
) -> list[Suspect]:
    """Rows whose label a cross-validated model and the nearest rows both contradict.

    Args:
        x: Scaled inputs `(n, d)`.
        y: Labels `(n,)`, in `[0, k)`.
        agree: Share of each row's nearest rows that have its label `(n,)`.
        seed: Seed of the folds.

    Source:
        Northcutt, Jiang and Chuang, "Confident learning" (2021), for judging labels by
        out-of-sample probabilities.
    """
    probabilities = _out_of_fold(x, y, seed=seed)
    gap = probabilities.max(axis=1) - probabilities[np.arange(len(y)), y]
    return [
        Suspect(
            index=int(row),
            score=round(float(gap[row] + 1 - agree[row]) / 2, 4),
            kind="label-noise",
            label=int(y[row]),
            evidence={
                "label_gap": float(gap[row]),
                "label_neighbours": float(agree[row]),
                "label_predicted": float(probabilities[row].argmax()),
            },
        )
        for row in np.flatnonzero((gap > _GAP) & (agree <= _AGREE))
    ]


def _out_of_fold(x: Rows, y: NDArray[np.int64], *, seed: int) -> NDArray[Any]:
    """Class probabilities `(n, k)` of each row from a model that did not see it."""
    linear, selection = require("sklearn.linear_model"), require("sklearn.model_selection")
    probabilities = np.zeros((len(x), int(y.max()) + 1))
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
    return probabilities


def outlier_suspects(x: Rows, y: NDArray[np.int64]) -> list[Suspect]:
    """Rows far from what their class's principal components can say.

    The threshold is in robust standard deviations of the class's own log residuals, so that it
    means the same for every class and scale.

    Args:
        x: Scaled inputs `(n, d)`.
        y: Labels `(n,)`.
    """
    suspects = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < _ENOUGH:
            continue
        for row, far in zip(rows, _distances(x, rows), strict=True):
            if far > _FAR:
                evidence = {"outlier_sigmas": float(far)}
                score = round(float(1 - _FAR / (2 * far)), 4)
                suspects.append(
                    Suspect(
                        index=int(row),
                        score=score,
                        kind="outlier",
                        label=int(label),
                        evidence=evidence,
                    )
                )
    return suspects


def _distances(x: Rows, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Robust standard deviations of each row's log residual above the median."""
    centre, blocks = np.median(x[some(rows)], axis=0), cut(rows)
    lengths = np.concatenate([np.linalg.norm(x[block] - centre, axis=1) for block in blocks])
    core = rows[lengths <= np.quantile(lengths, _CORE)]  # an outlier must not shape the space
    scatter = np.zeros((x.shape[1], x.shape[1]), dtype=np.float32)
    for block in cut(core):
        part = x[block] - centre
        scatter += part.T @ part
    kept = leading(scatter, most=len(rows) // 5, kept=_KEPT)
    logs = np.concatenate([_log_residuals(x[block] - centre, kept) for block in blocks])
    middle = np.median(logs)
    spread = max(_TO_SIGMA * float(np.median(np.abs(logs - middle))), 1e-3)
    sigmas: NDArray[np.float64] = (logs - middle) / spread
    return sigmas


def _log_residuals(centred: NDArray[np.float32], kept: NDArray[Any]) -> NDArray[Any]:
    """Logarithm of the length of what the kept directions do not say."""
    residual = centred - (centred @ kept) @ kept.T
    logs: NDArray[Any] = np.log(np.linalg.norm(residual, axis=1) + 1e-6)
    return logs
