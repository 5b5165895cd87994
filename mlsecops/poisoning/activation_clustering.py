"""Which rows a trained model gives their label for a reason that their content does not show.

A backdoored model reaches a class in two ways: by what the input shows, and by the trigger. Rows
whose content contradicts their label, and which one cause in the penultimate activations tells from
every other row, came by the trigger, even where they are half of their class (`causes`). Rows far
out along their class's first direction, and which the rest of the data would rename, are reported
under a kind of their own.

Source:
    Chen et al., "Detecting backdoor attacks on deep neural networks by activation clustering"
    (2018), for groups within a class; Tran, Li and Madry, "Spectral signatures in backdoor
    attacks" (2018), here with centred activations and a robust scale.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.adapters.base import in_batches
from mlsecops.poisoning.linear_model import told_linearly
from mlsecops.poisoning.neighbour_labels import AGREED, agreement
from mlsecops.poisoning.report import PoisoningReport, Suspect, ranked
from mlsecops.poisoning.screening import checked, summaries
from mlsecops.poisoning.trigger_search import find_causes
from mlsecops.poisoning.triggers import picture, suspects_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["detect_poisoning", "spectral_suspects"]

_LEAST: Final = 16  # rows of a class, to speak of its first direction
_SIGNATURE: Final = 8.0  # robust standard deviations along the class's first direction
_TO_SIGMA: Final = 1.4826  # MAD to standard deviation, for a normal law
_ALONE: Final = 0.2  # share of agreeing neighbours, at most, of a row that stands out


def detect_poisoning(
    model_or_adapter: Any, x: Any, y: Any, *, seed: int = 0, executor: Executor | None = None
) -> PoisoningReport:
    """Look for rows that a trained model labels for another reason than what they show.

    Args:
        model_or_adapter: The model trained on the data, or its Adapter; left as it was.
        x: The training inputs `(n, *shape)`, as the model takes them.
        y: The training labels `(n,)`.
        seed: Seed of folds and samples.
        executor: Where blocks of rows are worked on; the report is the same wherever that is.

    Returns:
        Ranked suspects, each with its cause's evidence, and a picture of each cause. No suspects
        means that these detectors saw none, not that there is no poison.

    Raises:
        UsageError: The data cannot be used.
        MissingExtra: scikit-learn is not installed.
    """
    flat, labels, shape = checked(x, y)
    features = _features(model_or_adapter, x)
    agree = agreement(flat, labels, seed=seed, executor=executor)
    told = told_linearly(features, labels, agree < AGREED, seed=seed, executor=executor)
    causes = find_causes(
        told, labels, agree < AGREED, focus=lambda _f, _o, rows: (features[rows],) * 2, seed=seed
    )
    suspects = [each for cause in causes for each in suspects_of(cause, kind="activation-cluster")]
    found = ranked([*suspects, *spectral_suspects(features, labels, agree)])
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=summaries(found),
        detectors=("activation-cluster", "spectral"),
        skipped={},
        triggers=tuple(picture(flat, labels, cause, shape) for cause in causes),
    )


def _features(model_or_adapter: Any, x: Any) -> NDArray[np.float32]:
    """Centred penultimate activations `(n, d)` on one common scale."""
    adapter = adapt(model_or_adapter)
    raw = in_batches(lambda part: adapter.features(np.asarray(part, np.float32)), np.asarray(x))
    flat = raw.reshape(len(raw), -1)
    centred: NDArray[np.float32] = flat - flat.mean(axis=0)
    return centred / max(float(centred.std()), 1e-9)


def spectral_suspects(
    features: NDArray[np.float32], labels: NDArray[np.int64], agree: NDArray[np.float32]
) -> list[Suspect]:
    """Rows far out along the direction in which their class varies most, among other labels."""
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
            for i in np.flatnonzero((sigmas > _SIGNATURE) & (agree[rows] <= _ALONE))
        ]
    return suspects


def _sigmas(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Robust standard deviations of each row along the first direction."""
    centred = (features - np.median(features, axis=0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    along = centred @ vectors[:, -1]
    along -= np.median(along)
    sigmas: NDArray[np.float64] = np.abs(along) / max(
        _TO_SIGMA * float(np.median(np.abs(along))), 1e-9
    )
    return sigmas
