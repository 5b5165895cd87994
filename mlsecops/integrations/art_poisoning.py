"""Poisoning detectors of the Adversarial Robustness Toolbox (ART), for comparison.

model, training data → activations → ART detector → `PoisoningReport`. ART's detectors flag rows of
clean data too; to find poison, call `mlsecops.poisoning.detect_poisoning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mlsecops._choices import named, one_of
from mlsecops._extras import require
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.integrations.art import estimator, seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.poisoning import PoisoningReport, Suspect

__all__ = ["art_poisoning"]

_KINDS: Final = {
    "ActivationDefence": "activation-cluster",
    "SpectralSignatureDefense": "spectral",
}


@named
def art_poisoning(
    model: Any,
    x: Any,
    y: Any,
    *,
    detector: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PoisoningReport:
    """Run an ART detector on a trained model.

    Args:
        model: The model trained on the data, or an Adapter with activations.
        x: Training inputs `(n, *shape)`.
        y: Training labels `(n,)`, integers; each class of the model has rows.
        detector: `"ActivationDefence"`, whose defaults flag about 40 % of clean data; in ART 1.20
            `cluster_analysis="relative-size"` crashes and `"silhouette-scores"` flags whole
            classes. Or `"SpectralSignatureDefense"`, which flags `eps_multiplier *
            expected_pp_poison` of each class, half by default.
        settings: Arguments of the detector, such as `{"expected_pp_poison": 0.05}`.
        seed: Seed of numpy's global generator during the search.

    Returns:
        The flagged rows. Their score is the share of the class that was not flagged
        (`ActivationDefence`), or ART's outlier score divided by the largest one.

    Raises:
        UsageError: The detector is unknown, or refuses the model, the data or the settings.
        MissingExtra: ART is not installed.

    Source: Chen et al., "Detecting backdoor attacks on deep neural networks by activation
    clustering" (2018); Tran, Li and Madry, "Spectral signatures in backdoor attacks" (2018).
    """
    from mlsecops.poisoning.report import PoisoningReport, ranked  # noqa: PLC0415 - with numpy
    from mlsecops.poisoning.screening import as_samples, summaries  # noqa: PLC0415 - with numpy

    one_of("detector", detector, _KINDS)
    _, labels, shape = as_samples(x, y)
    with seeded(seed):
        scores, clean = _run(detector, _estimator(model, x, labels, shape), x, labels, settings)
    found = ranked(_suspects(_KINDS[detector], labels, scores, clean))
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=summaries(found),
        detectors=(f"art-{detector}",),
        skipped={},
    )


def _estimator(model: Any, x: Any, labels: NDArray[Any], shape: tuple[int, ...]) -> Any:
    adapter = adapt(model)
    classes = int(adapter.logits(x[:1]).shape[1])
    if sorted(set(labels.tolist())) != list(range(classes)):
        raise UsageError(f"y: expected rows of each of the model's {classes} classes, as ART needs")
    return estimator(adapter, input_shape=shape, classes=classes)


def _run(
    detector: str, made: Any, x: Any, labels: NDArray[Any], settings: Mapping[str, Any] | None
) -> tuple[Mapping[Any, Any], list[int]]:
    """ART's report and, for each row, 1 if it is clean."""
    kind = getattr(require("art.defences.detector.poison"), detector)
    try:
        report, clean = kind(made, x, labels).detect_poison(**(settings or {}))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"{detector}: ART refuses it: {error}") from error
    return report, clean


def _suspects(
    kind: str, labels: NDArray[Any], scores: Mapping[Any, Any], clean: list[int]
) -> list[Suspect]:
    import numpy as np  # noqa: PLC0415 - only where arrays are made

    from mlsecops.poisoning.report import Suspect  # noqa: PLC0415 - with numpy

    flagged = np.asarray(clean) != 1
    rows = np.flatnonzero(flagged).tolist()
    share = np.bincount(labels, weights=flagged) / np.bincount(labels)
    if kind == "spectral":
        evidence = {row: {"art_outlier_score": float(scores[row])} for row in rows}
        greatest = max((e["art_outlier_score"] for e in evidence.values()), default=1.0)
        strength = {row: evidence[row]["art_outlier_score"] / greatest for row in rows}
    else:
        evidence = {row: {"art_cluster_share": float(share[labels[row]])} for row in rows}
        strength = {row: float(1 - share[labels[row]]) for row in rows}
    return [
        Suspect(
            index=row,
            score=round(strength[row], 4),
            kind=kind,
            label=int(labels[row]),
            evidence=evidence[row],
        )
        for row in rows
    ]
