"""What is wrong with training data before anything is trained on it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.poisoning.disagreement import label_suspects, outlier_suspects
from mlsecops.poisoning.report import DatasetBaseline, PoisoningReport, Suspect, ranked
from mlsecops.poisoning.triggers import image_axes, trigger_suspects

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["screen_dataset"]

_WIDEST: Final = 4096  # columns; the Gram matrix grows with their square
_RARE: Final = 0.2  # of the mean class size
_SHIFT: Final = 5.0  # standard errors by which a rate may move from the baseline
_FEWEST: Final = 50  # rows that cross-validation needs


def screen_dataset(
    x: Any, y: Any, *, baseline: DatasetBaseline | None = None, seed: int = 0
) -> PoisoningReport:
    """Look for wrong labels, planted triggers, outliers and conflicting duplicates.

    Args:
        x: Inputs ``(n, *shape)``, numeric and finite, n at least 50.
        y: Labels ``(n,)``, integers of at least 0, of two classes or more.
        baseline: Shape of a trusted data set (``report.baseline`` of an earlier screening).
        seed: Seed of the folds.

    Returns:
        Ranked suspects and findings. No suspects means that these detectors saw none, not that
        there is no poison: a trigger that moves, or that varies from copy to copy, passes unseen.

    Raises:
        UsageError: The data cannot be screened.
        MissingExtra: scikit-learn is not installed.
    """
    flat, labels, shape = checked(x, y)
    skipped = _unsuited(flat, shape)
    groups = _duplicates(flat)
    noisy = label_suspects(flat, labels, seed=seed)
    suspects = [*noisy, *_conflicts(groups, labels)]
    if "outlier" not in skipped:
        suspects += outlier_suspects(flat, labels)
    if "trigger" not in skipped:
        suspects += trigger_suspects(flat, labels, shape=shape, seed=seed)
    now = DatasetBaseline(
        n=len(labels),
        class_counts={int(k): int(c) for k, c in zip(*_counted(labels), strict=True)},
        duplicate_rate=sum(len(rows) - 1 for rows in groups) / len(labels),
        disagreement_rate=len(noisy) / len(labels),
    )
    found = ranked(suspects)
    detectors = ("label-noise", "conflicting-duplicate", "outlier", "trigger")
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=(*summaries(found), *_balance(now), *_moved(now, baseline)),
        detectors=tuple(name for name in detectors if name not in skipped),
        skipped=skipped,
        baseline=now,
    )


def checked(x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.int64], tuple[int, ...]]:
    """Flattened inputs on ``[0, 1]``, labels, and the shape of one input.

    Raises:
        UsageError: The data cannot be screened.
    """
    inputs, labels = np.asarray(x), np.asarray(y)
    if inputs.ndim < 2 or labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":  # noqa: PLR2004 - rows and columns
        raise UsageError(
            "expected x of shape (n, *shape) and y of n integers, "
            f"got x {inputs.shape} and y {labels.shape} of {labels.dtype}"
        )
    if len(labels) < _FEWEST or len(np.unique(labels)) < 2 or labels.min() < 0:  # noqa: PLR2004 - two classes
        raise UsageError(
            f"expected at least {_FEWEST} rows of two classes or more with labels of at least 0, "
            f"got {len(labels)} rows with labels {np.unique(labels)[:10].tolist()}"
        )
    if inputs.dtype.kind not in "iufb" or not np.isfinite(inputs).all():
        raise UsageError(f"x: expected finite numbers, got {inputs.dtype} with NaN, inf or objects")
    flat = inputs.reshape(len(inputs), -1).astype(np.float64)
    return _scaled(flat, inputs.shape[1:]), labels.astype(np.int64), inputs.shape[1:]


def _scaled(flat: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An image's values on one common scale, a table's columns each on their own."""
    axis = None if image_axes(shape) is not None else 0
    low, high = flat.min(axis=axis), flat.max(axis=axis)
    scaled: NDArray[np.float64] = (flat - low) / np.maximum(high - low, 1e-12)
    return scaled


def summaries(suspects: tuple[Suspect, ...]) -> tuple[Finding, ...]:
    """One finding per kind of suspect."""
    kinds = sorted({suspect.kind for suspect in suspects})
    return tuple(_summary(kind, [s for s in suspects if s.kind == kind]) for kind in kinds)


def _summary(kind: str, suspects: list[Suspect]) -> Finding:
    first = ", ".join(str(suspect.index) for suspect in suspects[:5])
    targeted = kind in ("trigger", "activation-cluster", "spectral")
    return Finding(
        rule=f"poisoning-{kind}",
        severity=Severity.HIGH if targeted else Severity.MEDIUM,
        message=f"{len(suspects)} rows are suspect ({kind}), the strongest being {first}: "
        "look at them before training",
        where=f"row {suspects[0].index}",
        artifact="data set",
    )


def _unsuited(flat: NDArray[np.float64], shape: tuple[int, ...]) -> dict[str, str]:
    skipped = {}
    if flat.shape[1] > _WIDEST:
        wide = f"{flat.shape[1]} columns, and at most {_WIDEST} are searched"
        skipped = {"trigger": wide, "outlier": wide}
    if image_axes(shape) is None:
        skipped["trigger"] = f"inputs shaped {shape} are not images"
    return skipped


def _counted(labels: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    values, counts = np.unique(labels, return_counts=True)
    return values, counts


def _duplicates(flat: NDArray[np.float64]) -> list[list[int]]:
    """Groups of rows with the same bytes."""
    seen: dict[bytes, list[int]] = {}
    for index, row in enumerate(flat):
        seen.setdefault(hashlib.sha256(row.tobytes()).digest(), []).append(index)
    return [rows for rows in seen.values() if len(rows) > 1]


def _conflicts(groups: list[list[int]], labels: NDArray[np.int64]) -> list[Suspect]:
    """Equal inputs with different labels: all but the majority's rows."""
    suspects = []
    for rows in groups:
        values, counts = np.unique(labels[rows], return_counts=True)
        majority = values[counts.argmax()] if (counts == counts.max()).sum() == 1 else None
        suspects += [
            Suspect(
                index=row,
                score=0.9,
                kind="conflicting-duplicate",
                label=int(labels[row]),
                evidence={"duplicate_labels": float(len(values)), "duplicates": float(len(rows))},
            )
            for row in rows
            if len(values) > 1 and labels[row] != majority
        ]
    return suspects


def _balance(now: DatasetBaseline) -> list[Finding]:
    mean = now.n / len(now.class_counts)
    return [
        _finding("class-imbalance", f"class {label} has {count} rows, the mean is {mean:.0f}")
        for label, count in now.class_counts.items()
        if count < _RARE * mean
    ]


def _moved(now: DatasetBaseline, then: DatasetBaseline | None) -> list[Finding]:
    """Rates that differ from the baseline's by more than chance."""
    if then is None:
        return []
    rates = {
        "duplicate rate": (now.duplicate_rate, then.duplicate_rate),
        "label disagreement": (now.disagreement_rate, then.disagreement_rate),
    } | {
        f"share of class {label}": (
            now.class_counts.get(label, 0) / now.n,
            then.class_counts.get(label, 0) / then.n,
        )
        for label in sorted({*now.class_counts, *then.class_counts})
    }
    return [
        _finding("baseline-shift", f"{name} is {rate:.3%}, in the baseline {before:.3%}")
        for name, (rate, before) in rates.items()
        if abs(rate - before) > _SHIFT * _error(rate, now.n, before, then.n)
    ]


def _error(rate: float, n: int, before: float, m: int) -> float:
    """Standard error of the difference of two rates, with Laplace's rule against rates of 0."""
    pooled = (rate * n + before * m + 1) / (n + m + 2)
    return float((pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5)


def _finding(rule: str, message: str) -> Finding:
    return Finding(
        rule=rule, severity=Severity.MEDIUM, message=message, where="", artifact="data set"
    )
