"""What a search for poison returns: ranked suspects with their evidence, never "clean"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.findings import Finding
    from mlsecops.poisoning.baseline import DatasetBaseline

__all__ = ["PoisoningReport", "Suspect", "Trigger"]

SCHEMA: Final = "mlsecops.poisoning/1"
_EXPLAINING: Final = (  # a trigger explains a label that disagrees, and not the other way round
    "trigger",
    "activation-cluster",
    "spectral",
    "conflicting-duplicate",
    "label-noise",
    "outlier",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A row that a detector points at.

    Attributes:
        index: Row in the data set.
        score: Strength of the strongest evidence, in `[0, 1]`; comparable within a kind.
        kind: `"label-noise"`, `"trigger"`, `"activation-cluster"`, `"spectral"`,
            `"outlier"` or `"conflicting-duplicate"`.
        label: The row's label.
        evidence: Reading by name, from each detector that points at the row.
    """

    index: int
    score: float
    kind: str
    label: int
    evidence: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "index": self.index,
            "score": self.score,
            "kind": self.kind,
            "label": self.label,
            "evidence": dict(self.evidence),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trigger:
    """What the rows of one label's trigger have in common.

    Attributes:
        label: The label that the trigger stands for.
        rows: How many rows have it.
        pattern: Their median input, of the shape of one input, on `[0, 1]`.
        change: Their mean input less that of the other labels' rows; what was added.
        mask: Where the pattern tells them from the other labels' rows.
    """

    label: int
    rows: int
    pattern: NDArray[np.float32]
    change: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: where the pattern is, and its values there."""
        places = np.argwhere(self.mask).tolist()
        values = np.round(self.pattern[self.mask].astype(float), 4).tolist()
        return {"label": self.label, "rows": self.rows, "places": places, "values": values}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisoningReport:
    """What the detectors found; an empty one says only that these detectors saw nothing.

    Attributes:
        n: Rows looked at.
        seed: Seed of the search.
        suspects: Rows that detectors point at, strongest first; each row once.
        findings: What concerns the data set as a whole.
        detectors: Detectors that ran.
        skipped: Detector → why it could not run.
        triggers: What each trigger's rows have in common.
        baseline: Shape of this data set, or None where labels and inputs were not screened.
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
        return f"<PoisoningReport seed={self.seed}: {'; '.join(parts)}>"

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
    """Each row once, with all evidence, under the kind that explains most; strongest first."""
    merged: dict[int, Suspect] = {}
    for suspect in sorted(suspects, key=lambda s: (_EXPLAINING.index(s.kind), -s.score)):
        first = merged.setdefault(suspect.index, suspect)
        merged[suspect.index] = replace(
            first,
            score=max(first.score, suspect.score),
            evidence={**suspect.evidence, **first.evidence},
        )
    return tuple(sorted(merged.values(), key=lambda s: (-s.score, s.index)))
