"""Screening of training data before training.

rows, labels → detectors → PoisoningReport with ranked suspects, findings and a baseline
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._choices import checked, number, of_type
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.poisoning.baseline import DatasetBaseline
from mlsecops.poisoning.duplicates import conflicts, crowds, equal_rows, near_rows
from mlsecops.poisoning.flat_rows import Rows, scaled, shape_of
from mlsecops.poisoning.image_layout import image_axes
from mlsecops.poisoning.label_noise import label_suspects, outlier_suspects
from mlsecops.poisoning.report import PoisoningReport, Suspect, Trigger, ranked
from mlsecops.poisoning.tables.label_rule import label_rule
from mlsecops.poisoning.tables.table_triggers import table_triggers
from mlsecops.poisoning.triggers import image_triggers
from mlsecops.signing.verified import Verified

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDEST: Final = 4096  # columns; chosen: memory and time of the Gram matrix are quadratic
_FEWEST: Final = 50  # rows; chosen: cross-validation needs as many


@checked
def screen_dataset(
    x: Any,
    y: Any,
    *,
    baseline: DatasetBaseline | Verified | None = None,
    seed: int = 0,
    executor: Executor | None = None,
) -> PoisoningReport:
    """Search training data for wrong labels, triggers, outliers and conflicting duplicates.

    Args:
        x: Inputs `(n, *shape)`, numeric and finite, n at least 50; `(n, d)` is a table (word counts
            and embeddings too) unless its rows are square images by their structure. A
            `numpy.memmap` (as of `numpy.load(file, mmap_mode="r")`) is read in blocks and may be
            larger than memory.
        y: Labels `(n,)`, integers of at least 0, of two classes or more.
        baseline: Statistics of a trusted data set (`report.baseline` of an earlier screening), or
            the result of verifying that data; a shift from a signed one is of high severity.
        seed: Seed of folds and samples.
        executor: Runs blocks of rows (threads, processes, Dask); the report is the same.

    Returns:
        Ranked suspects and findings. An empty report means that these detectors found nothing,
        not that there is no poison: what is known to pass stands in the guide, with its rate.

    Raises:
        UsageError: The data cannot be screened, or no baseline was signed with it.
        MissingExtra: scikit-learn is not installed.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> report = screen_dataset(rng.random((60, 5)), rng.integers(0, 2, 60))
        >>> report.n, report.detectors
        (60, ('conflicting-duplicate', 'label-noise', 'outlier', 'trigger'))
    """
    number("seed", seed, "a number from 0 to 2**32 - 1", lambda each: 0 <= each < 1 << 32)
    if executor is not None:
        of_type("executor", executor, "submit", "an Executor")
    flat, labels, shape = as_samples(x, y)
    skipped = _unsuited(flat)
    groups, near = equal_rows(flat), near_rows(flat, seed=seed)
    suspects = [*conflicts(groups, near, labels), *crowds(groups, near, labels)]
    triggers: list[Trigger] = []
    notes: list[Finding] = []
    if not skipped:
        table = image_axes(shape) is None
        rule = label_rule(flat, labels, seed=seed) if table else None
        follows = None if rule is None else rule.follows
        notes += [] if rule is None else [rule.finding()]
        suspects += label_suspects(flat, labels, table=table, follows=follows, seed=seed)
        suspects += outlier_suspects(flat, labels)
        search = table_triggers if table else image_triggers
        marked, triggers = search(flat, labels, shape=shape, seed=seed, executor=executor)
        suspects += marked
    found = ranked(suspects)
    now = DatasetBaseline.of(
        x,
        labels,
        duplicate_rate=sum(len(rows) - 1 for rows in groups) / len(labels),
        disagreement_rate=len([s for s in suspects if s.kind == "label-noise"]) / len(labels),
    )
    detectors = ("conflicting-duplicate", "label-noise", "outlier", "trigger")
    return PoisoningReport(
        n=len(labels),
        seed=seed,
        suspects=found,
        findings=(*summaries(found), *notes, *now.imbalance(), *_moved(now, baseline, x, labels)),
        detectors=tuple(name for name in detectors if name not in skipped),
        skipped=skipped,
        triggers=tuple(triggers),
        baseline=now,
    )


def as_samples(x: Any, y: Any) -> tuple[Rows, NDArray[np.int64], tuple[int, ...]]:
    """Flattened inputs on `[0, 1]`, labels, and the shape of one input.

    Flat rows that hold square images have their shape.
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
    shape = shape_of(inputs)
    image = image_axes(shape) is not None
    flat = scaled(inputs, stored=isinstance(x, np.memmap), image=image)
    return flat, labels.astype(np.int64), shape


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
        message=f"suspect rows ({kind}): {len(suspects)}, the strongest first {first}; "
        "look at them before training",
        where=f"row {suspects[0].index}",
        artifact="data set",
    )


def _unsuited(flat: Rows) -> dict[str, str]:
    if flat.shape[1] <= _WIDEST:
        return {}
    wide = f"{flat.shape[1]} columns: expected at most {_WIDEST}; pass features instead"
    return dict.fromkeys(("label-noise", "outlier", "trigger"), wide)


def _moved(
    now: DatasetBaseline,
    baseline: DatasetBaseline | Verified | None,
    x: Any,
    labels: NDArray[np.int64],
) -> list[Finding]:
    if isinstance(baseline, Verified):
        moved = now.moved_from(DatasetBaseline.from_verified(baseline), x, labels)
        return [replace(finding, severity=Severity.HIGH) for finding in moved]
    return [] if baseline is None else now.moved_from(baseline, x, labels)
