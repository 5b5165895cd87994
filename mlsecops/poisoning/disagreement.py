"""Which labels the rest of the data set contradicts, and which rows are unlike their class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.poisoning.report import Suspect

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
    x: NDArray[np.float32], y: NDArray[np.int64], agree: NDArray[np.float32], *, seed: int
) -> list[Suspect]:
    """Rows whose label a cross-validated model and the nearest rows both contradict.

    Args:
        x: Scaled inputs ``(n, d)``.
        y: Labels ``(n,)``, in ``[0, k)``.
        agree: Share of each row's nearest rows that have its label ``(n,)``.
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


def _out_of_fold(x: NDArray[np.float32], y: NDArray[np.int64], *, seed: int) -> NDArray[Any]:
    """Class probabilities ``(n, k)`` of each row from a model that did not see it."""
    decomposition, linear = require("sklearn.decomposition"), require("sklearn.linear_model")
    selection = require("sklearn.model_selection")
    probabilities = np.zeros((len(x), int(y.max()) + 1))
    splitter = selection.KFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
    for train, test in splitter.split(x):
        size = min(_COMPONENTS, x.shape[1], len(train))
        pca = decomposition.PCA(size, svd_solver="covariance_eigh").fit(x[train])
        low = pca.transform(x[train])
        scale = max(float(low.std()), 1e-12)
        model = linear.LogisticRegression(max_iter=300, tol=1e-3).fit(low / scale, y[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(
            pca.transform(x[test]) / scale
        )
    return probabilities


def outlier_suspects(x: NDArray[np.float32], y: NDArray[np.int64]) -> list[Suspect]:
    """Rows far from what their class's principal components can say.

    The threshold is in robust standard deviations of the class's own log residuals, so that it
    means the same for every class and scale.

    Args:
        x: Scaled inputs ``(n, d)``.
        y: Labels ``(n,)``.
    """
    suspects = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < _ENOUGH:
            continue
        for row, far in zip(rows, _distances(x[rows]), strict=True):
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


def _distances(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Robust standard deviations of each row's log residual above the median."""
    centred = x - np.median(x, axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    core = centred[lengths <= np.quantile(lengths, _CORE)]  # an outlier must not shape the space
    values, vectors = np.linalg.eigh(core.T @ core)
    share = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-12)
    kept = vectors[:, ::-1][:, : min(int(np.searchsorted(share, _KEPT)) + 1, len(x) // 5)]
    residual = centred - (centred @ kept) @ kept.T
    logs = np.log(np.linalg.norm(residual, axis=1) + 1e-6)
    middle = np.median(logs)
    spread = max(_TO_SIGMA * float(np.median(np.abs(logs - middle))), 1e-3)
    sigmas: NDArray[np.float64] = (logs - middle) / spread
    return sigmas
