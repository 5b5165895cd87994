"""Poisoning report: suspect rows ranked by evidence.

Suspects of all detectors → `ranked` → PoisoningReport, which never says "clean"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.findings import Finding
    from mlsecops.poisoning.baseline import DatasetBaseline

SCHEMA: Final = "mlsecops.poisoning/1"
_EXPLAINING: Final = (  # best explanation first: a trigger explains a contradicted label
    "trigger",
    "activation-cluster",
    "spectral",
    "conflicting-duplicate",
    "label-noise",
    "outlier",
)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A suspect row.

    Attributes:
        index: Row in the data set.
        score: Strength of the strongest evidence, in `[0, 1]`; comparable within a kind.
        kind: `"label-noise"`, `"trigger"`, `"activation-cluster"`, `"spectral"`,
            `"outlier"` or `"conflicting-duplicate"`.
        label: The row's label.
        evidence: Measured values by name, from each detector that flags the row.

    Examples:
        >>> Suspect(index=3, score=0.9, kind="outlier", label=1, evidence={}).to_dict()["kind"]
        'outlier'
    """

    index: int
    score: float
    kind: str
    label: int
    evidence: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trigger:
    """Common pattern of the rows with one label's trigger.

    Attributes:
        label: The label of the trigger.
        rows: Number of rows with the trigger.
        pattern: Their median input, with the shape of one input, on `[0, 1]`; flat rows that are
            square images have `(side, side)`.
        change: Their mean input minus that of the other labels' rows.
        mask: Columns in which they differ most from the other labels' rows.
    """

    label: int
    rows: int
    pattern: NDArray[np.float32]
    change: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the pattern's positions and values."""
        places = np.argwhere(self.mask).tolist()
        values = np.round(self.pattern[self.mask].astype(float), 4).tolist()
        return {"label": self.label, "rows": self.rows, "places": places, "values": values}


def _view(report: PoisoningReport) -> NotebookView:
    kinds = Counter(suspect.kind for suspect in report.suspects)
    skipped = [("skipped", f"{name}: {why}") for name, why in report.skipped.items()]
    counts = [("rows", report.n), ("suspects", len(report.suspects)), *kinds.most_common()]
    facts = [*counts, *skipped]
    rows = ((each.index, each.kind, each.score, each.label) for each in report.suspects)
    return NotebookView("Screening", facts, ("row", "kind", "score", "label"), rows)


@notebook_view(_view)
@dataclass(frozen=True, slots=True, kw_only=True)
class PoisoningReport:
    """Result of poisoning detectors; an empty one only means that they found nothing.

    Attributes:
        n: Rows examined.
        seed: Seed of the search.
        suspects: Suspect rows, strongest first; each row once.
        findings: Findings about the data set as a whole.
        detectors: Detectors that ran.
        skipped: Detector → why it could not run.
        triggers: Triggers that were found.
        baseline: Statistics of this data set, or None after `detect_poisoning`.
    """

    n: int
    seed: int
    suspects: tuple[Suspect, ...]
    findings: tuple[Finding, ...]
    detectors: tuple[str, ...]
    skipped: Mapping[str, str]
    triggers: tuple[Trigger, ...] = field(default=(), compare=False)
    baseline: DatasetBaseline | None = None

    def __repr__(self) -> str:
        kinds = Counter(suspect.kind for suspect in self.suspects)
        shown = [f"{count} {kind}" for kind, count in kinds.most_common()]
        marks = [f"label {trigger.label} by {trigger.rows} rows" for trigger in self.triggers]
        parts = [
            f"{len(self.suspects)} of {self.n} rows suspect",
            *shown,
            *([f"triggers of {', '.join(marks)}"] if marks else []),
            f"findings {', '.join(sorted({f.rule for f in self.findings})) or 'none'}",
            *([f"not run {', '.join(self.skipped)}"] if self.skipped else []),
        ]
        return one_line(f"<PoisoningReport seed={self.seed}: {'; '.join(parts)}>")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": SCHEMA,
            "n": self.n,
            "seed": self.seed,
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "findings": [finding.to_dict() for finding in self.findings],
            "detectors": list(self.detectors),
            "skipped": dict(self.skipped),
            "triggers": [trigger.to_dict() for trigger in self.triggers],
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "atlas": ["AML.T0020", "AML.T0018.000", "AML.T0059"],
        }


def ranked(suspects: Iterable[Suspect]) -> tuple[Suspect, ...]:
    """Each row once, with all evidence, under the best explanation; strongest first."""
    merged: dict[int, Suspect] = {}
    for suspect in sorted(suspects, key=lambda s: (_EXPLAINING.index(s.kind), -s.score)):
        first = merged.setdefault(suspect.index, suspect)
        merged[suspect.index] = replace(
            first,
            score=max(first.score, suspect.score),
            evidence={**suspect.evidence, **first.evidence},
        )
    return tuple(sorted(merged.values(), key=lambda s: (-s.score, s.index)))
