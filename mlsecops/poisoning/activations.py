"""Which rows a trained model keeps apart inside their own class.

A backdoored model reaches its target class in two ways: by what the input shows, and by the
trigger. The class's penultimate activations then fall into two groups. The smaller one need not be
the poison, so each group is asked what it shows: a model of the other classes alone, which has
seen neither this class nor its trigger, is surer of poison than of honest rows.

Source:
    Chen et al., "Detecting backdoor attacks on deep neural networks by activation clustering"
    (2018); Tran, Li and Madry, "Spectral signatures in backdoor attacks" (2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.adapters import adapt
from mlsecops.poisoning.report import PoisoningReport, Suspect, ranked
from mlsecops.poisoning.ridge import Ridge
from mlsecops.poisoning.screening import checked, summaries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter

__all__ = ["detect_poisoning"]

_COMPONENTS: Final = 10
_LEAST: Final = 8  # rows of a group, and of a class worth splitting
_SILHOUETTE: Final = 0.15  # under it two groups are one cloud
_SHARE: Final = 0.2  # of its class; smaller groups of honest rows look foreign by chance
_FOREIGN: Final = 0.65  # a group's mean score for another class; honest rows score about 0.5
_CONTRAST: Final = 0.75  # chance that a row of the group scores above one of the other group
_SIGNATURE: Final = 8.0  # robust standard deviations along the class's first direction
_TO_SIGMA: Final = 1.4826  # MAD to standard deviation, for a normal law
_BATCH: Final = 256


def detect_poisoning(model_or_adapter: Any, x: Any, y: Any, *, seed: int = 0) -> PoisoningReport:
    """Look for rows that a trained model treats as a class within their class.

    Args:
        model_or_adapter: The model trained on the data, or its Adapter; left as it was.
        x: The training inputs ``(n, *shape)``, as the model takes them.
        y: The training labels ``(n,)``.
        seed: Seed of the clustering.

    Returns:
        Ranked suspects, each with its group's evidence. No suspects means that these detectors
        saw none, not that there is no poison.

    Raises:
        UsageError: The data cannot be used.
        MissingExtra: scikit-learn is not installed.
    """
    flat, labels, _ = checked(x, y)
    features = _features(adapt(model_or_adapter), np.asarray(x, dtype=np.float32))
    suspects: list[Suspect] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= 2 * _LEAST:
            suspects += _cluster(features, flat, labels, rows=rows, seed=seed)
            suspects += _spectral(features, flat, labels, rows=rows)
    found = ranked(suspects)
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=summaries(found),
        detectors=("activation-cluster", "spectral"),
        skipped={},
    )


def _features(adapter: Adapter, x: Any) -> NDArray[np.float64]:
    parts = [adapter.features(x[i : i + _BATCH]) for i in range(0, len(x), _BATCH)]
    features = np.concatenate(parts).astype(np.float64)
    return features.reshape(len(x), -1)


def _cluster(
    features: NDArray[np.float64],
    flat: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    rows: NDArray[Any],
    seed: int,
) -> list[Suspect]:
    """The group of a class that shows other classes, if there is one."""
    low = _reduced(features[rows])
    halves = require("sklearn.cluster").KMeans(2, n_init=5, random_state=seed).fit_predict(low)
    sizes = np.bincount(halves, minlength=2)
    if sizes.min() < _LEAST:
        return []
    apart = float(
        require("sklearn.metrics").silhouette_score(
            low, halves, sample_size=min(len(low), 2000), random_state=seed
        )
    )
    foreign = _foreign(flat, labels, rows)
    half = int(foreign[halves == 1].mean() > foreign[halves == 0].mean())
    inside, outside = foreign[halves == half], foreign[halves != half]
    contrast = float((inside[:, None] > outside).mean())
    evidence = {
        "cluster_silhouette": apart,
        "cluster_share": float(sizes[half] / len(rows)),
        "cluster_foreign": float(inside.mean()),
        "cluster_contrast": contrast,
    }
    too_few = evidence["cluster_share"] < _SHARE
    if too_few or apart < _SILHOUETTE or inside.mean() < _FOREIGN or contrast < _CONTRAST:
        return []
    return [
        Suspect(
            index=int(row),
            score=round(contrast, 4),
            kind="activation-cluster",
            label=int(labels[row]),
            evidence=evidence,
        )
        for row in rows[halves == half]
    ]


def _spectral(
    features: NDArray[np.float64],
    flat: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    rows: NDArray[Any],
) -> list[Suspect]:
    """Rows far out along the direction in which their class varies most, and renamed."""
    centred = features[rows] - np.median(features[rows], axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    along = centred @ vectors[:, -1]
    along -= np.median(along)
    spread = max(_TO_SIGMA * float(np.median(np.abs(along))), 1e-9)
    sigmas = np.abs(along) / spread
    far = np.flatnonzero(sigmas > _SIGNATURE)
    if not len(far) or len(far) > len(rows) // 2:
        return []
    renamed = _renamed(flat, labels, rows[far])
    return [
        Suspect(
            index=int(rows[i]),
            score=round(float(1 - _SIGNATURE / (2 * sigmas[i])), 4),
            kind="spectral",
            label=int(labels[rows[i]]),
            evidence={"spectral_sigmas": float(sigmas[i])},
        )
        for i, other in zip(far, renamed, strict=True)
        if other
    ]


def _reduced(features: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    low: NDArray[np.float64] = centred @ vectors[:, ::-1][:, :_COMPONENTS]
    return low


def _foreign(
    flat: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[Any]
) -> NDArray[np.float64]:
    """How sure a model of the other classes is that each row is theirs."""
    others = labels != labels[rows[0]]
    ridge = Ridge.fit(flat[others], labels[others], classes=int(labels.max()) + 1)
    surest: NDArray[np.float64] = ridge.scores(flat[rows]).max(axis=1)
    return surest


def _renamed(
    flat: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[Any]
) -> NDArray[np.bool_]:
    """Whether a model fitted without these rows gives each of them another label."""
    rest = np.ones(len(labels), dtype=bool)
    rest[rows] = False
    ridge = Ridge.fit(flat[rest], labels[rest], classes=int(labels.max()) + 1)
    answer: NDArray[np.bool_] = ridge.scores(flat[rows]).argmax(axis=1) != labels[rows]
    return answer
