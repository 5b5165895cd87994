"""Backdoor detection in the activations of a trained model.

model, rows, labels → penultimate activations → `pattern_search`, spectral signatures → Suspects
images → also answers to changed copies, local texture and patches at any place → `pattern_search`

Rows whose content contradicts their label and that share one pattern of activations have the
trigger, even if they are half of their class. Rows far out along the first principal component of
their class, with contradicted labels, are reported as `spectral`.

Source: Chen et al., "Detecting backdoor attacks on deep neural networks by activation clustering"
(2018), for groups within a class; Tran, Li and Madry, "Spectral signatures in backdoor attacks"
(2018), here with centred activations and a robust scale.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._choices import checked, of_type, whole
from mlsecops.adapters import adapt
from mlsecops.adapters.base import Adapter, in_batches
from mlsecops.poisoning.flat_rows import robust_sigmas
from mlsecops.poisoning.images.perturbed_answers import perturbed_answers
from mlsecops.poisoning.linear_model import out_of_fold_scores
from mlsecops.poisoning.neighbour_labels import neighbour_labels
from mlsecops.poisoning.pattern_search import OF_FEW, STRONG, Focus, Search, find_patterns
from mlsecops.poisoning.report import PoisoningReport, Suspect, ranked
from mlsecops.poisoning.screening import as_samples, summaries
from mlsecops.poisoning.triggers import image_searches, suspects_of, trigger_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ANSWERED: Final = 0.65  # strength of a pattern of answers; chosen: untouched data reached 0.59
_LEAST: Final = 16  # rows of a class for an estimate of its first component; chosen
_SIGNATURE: Final = 8.0  # robust standard deviations along the first component; chosen
_ISOLATED: Final = 0.2  # largest share of agreeing neighbours of a spectral suspect; chosen


@checked
def detect_poisoning(
    model_or_adapter: Any, x: Any, y: Any, *, seed: int = 0, executor: Executor | None = None
) -> PoisoningReport:
    """Search for rows that a trained model labels by a trigger and not by their content.

    Args:
        model_or_adapter: The model trained on the data, or its Adapter; unchanged.
        x: The training inputs `(n, *shape)`, in the model's format.
        y: The training labels `(n,)`.
        seed: Seed of folds and samples.
        executor: Runs blocks of rows; the report does not depend on it.

    Returns:
        Ranked suspects with evidence, and the triggers. An empty report means that these
        detectors found nothing, not that there is no poison.

    Raises:
        UsageError: The data cannot be used.
        MissingExtra: scikit-learn is not installed.
    """
    whole("seed", seed, "a number from 0 on", least=0)
    if executor is not None:
        of_type("executor", executor, "submit", "an Executor")
    flat, labels, shape = as_samples(x, y)
    adapter, inputs = adapt(model_or_adapter), np.asarray(x)
    features = _features(adapter, inputs)
    nearest = neighbour_labels(flat, labels, seed=seed, executor=executor)
    contradicted = nearest.contradicted
    views = [(features, STRONG)]
    answers = perturbed_answers(adapter, inputs)
    if answers is not None:
        views.append((np.hstack([features, answers]), _ANSWERED))
    searches = [
        Search(scores=scores, focus=_columns_of(view), bar=bar, few=OF_FEW, turn=turn)
        for turn, (view, bar) in enumerate(views)
        for scores in out_of_fold_scores(view, labels, contradicted, seed=seed, executor=executor)
    ]
    searches += image_searches(
        flat, labels, contradicted, shape=shape, seed=seed, executor=executor
    )
    patterns = find_patterns(searches, labels, contradicted, rivals=nearest.rival, seed=seed)
    suspects = [s for each in patterns for s in suspects_of(each, kind="activation-cluster")]
    found = ranked([*suspects, *spectral_suspects(features, labels, nearest.share)])
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=summaries(found),
        detectors=("activation-cluster", "spectral"),
        skipped={},
        triggers=tuple(trigger_of(flat, labels, p.label, p.rows, shape) for p in patterns),
    )


def _features(adapter: Adapter, x: NDArray[Any]) -> NDArray[np.float32]:
    raw = in_batches(lambda part: adapter.features(part.astype(np.float32)), x)
    flat = raw.reshape(len(raw), -1)
    centred: NDArray[np.float32] = flat - flat.mean(axis=0)
    return centred / max(float(centred.std()), 1e-9)


def _columns_of(view: NDArray[np.float32]) -> Focus:
    return lambda _found, _others, rows: (view[rows],) * 2


def spectral_suspects(
    features: NDArray[np.float32], labels: NDArray[np.int64], agree: NDArray[np.float32]
) -> list[Suspect]:
    """Rows far out along the first component of their class, among rows of other labels."""
    suspects = []
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        if len(rows) < _LEAST:
            continue
        sigmas = _sigmas(features[rows])
        suspects += [
            Suspect(
                index=int(rows[i]),
                score=round(float(1 - _SIGNATURE / (2 * sigmas[i])), 4),
                kind="spectral",
                label=label,
                evidence={"spectral_sigmas": float(sigmas[i])},
            )
            for i in np.flatnonzero((sigmas > _SIGNATURE) & (agree[rows] <= _ISOLATED))
        ]
    return suspects


def _sigmas(features: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = (features - np.median(features, axis=0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    sigmas: NDArray[np.float64] = np.abs(robust_sigmas(centred @ vectors[:, -1], least=1e-9))
    return sigmas
