"""The Adversarial Robustness Toolbox's search for poison, beside ours.

Its detectors get the activations of any Adapter and answer in a report of our shape, so that their
figures stand beside ours. They always accuse: the smaller of two clusters of each class, or a fixed
share of it. Compare with them; to find poison, call
`mlsecops.poisoning.detect_poisoning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

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


def art_poisoning(
    model: Any,
    x: Any,
    y: Any,
    *,
    detector: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PoisoningReport:
    """Run one of the toolbox's detectors on a trained model.

    Args:
        model: The model trained on the data, or an Adapter that shows activations.
        x: The training inputs `(n, *shape)`, as the model takes them.
        y: The training labels `(n,)`, integers; each of the model's classes has rows.
        detector: `"ActivationDefence"`, whose defaults flag about 40 % of clean data; in version
            1.20 `cluster_analysis="relative-size"` crashes and `"silhouette-scores"` flags
            whole classes. Or `"SpectralSignatureDefense"`, which flags `eps_multiplier x
            expected_pp_poison` of each class whatever is in it: half, by default.
        settings: The detector's own arguments, such as `{"expected_pp_poison": 0.05}`.
        seed: Seed of numpy's global generator for the time of the search.

    Returns:
        The flagged rows. A score is the share of the label's rows that was not flagged for a
        cluster, and the toolbox's outlier score over the greatest one for a spectral signature.

    Raises:
        UsageError: The detector is unknown, or it refuses the model, the data or the settings.
        MissingExtra: The toolbox is not installed.

    Source:
        Chen et al., "Detecting backdoor attacks on deep neural networks by activation clustering"
        (2018); Tran, Li and Madry, "Spectral signatures in backdoor attacks" (2018).
    """
    from mlsecops.poisoning.report import PoisoningReport, ranked  # noqa: PLC0415 - with numpy
    from mlsecops.poisoning.screening import checked, summaries  # noqa: PLC0415 - with numpy

    if detector not in _KINDS:
        raise UsageError(f"detector: expected one of {', '.join(_KINDS)}, got {detector!r}")
    _, labels, shape = checked(x, y)
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
        raise UsageError(f"y: the toolbox needs rows of each of the model's {classes} classes")
    return estimator(adapter, input_shape=shape, classes=classes)


def _run(
    detector: str, made: Any, x: Any, labels: NDArray[Any], settings: Mapping[str, Any] | None
) -> tuple[Mapping[Any, Any], list[int]]:
    """The toolbox's report and, for each row, 1 where it finds nothing."""
    kind = getattr(require("art.defences.detector.poison"), detector)
    try:
        report, clean = kind(made, x, labels).detect_poison(**(settings or {}))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"{detector}: the toolbox refuses it: {error}") from error
    return report, clean


def _suspects(
    kind: str, labels: NDArray[Any], scores: Mapping[Any, Any], clean: list[int]
) -> list[Suspect]:
    """A suspect for each row that the toolbox does not call clean."""
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
