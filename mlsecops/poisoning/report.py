"""What a search for poison returns: ranked suspects with their evidence, never "clean"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.findings import Finding

__all__ = ["DatasetBaseline", "PoisoningReport", "Suspect"]

SCHEMA: Final = "mlsecops.poisoning/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A row that a detector points at.

    Attributes:
        index: Row in the data set.
        score: Strength of the strongest evidence, in ``[0, 1]``; comparable within a kind.
        kind: ``"label-noise"``, ``"trigger"``, ``"activation-cluster"``, ``"spectral"``,
            ``"outlier"`` or ``"conflicting-duplicate"``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetBaseline:
    """Shape of a data set that is trusted, to hold a later one against.

    Attributes:
        n: Rows.
        class_counts: Rows by label.
        duplicate_rate: Share of rows that repeat an earlier one.
        disagreement_rate: Share of rows whose label a cross-validated model contradicts.
    """

    n: int
    class_counts: Mapping[int, int]
    duplicate_rate: float
    disagreement_rate: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, fit to stand in a signed statement."""
        return {
            "n": self.n,
            "class_counts": {str(label): count for label, count in self.class_counts.items()},
            "duplicate_rate": self.duplicate_rate,
            "disagreement_rate": self.disagreement_rate,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetBaseline:
        """Read what `to_dict` wrote.

        Raises:
            UsageError: It is not such a baseline.
        """
        try:
            return cls(
                n=int(data["n"]),
                class_counts={int(k): int(v) for k, v in data["class_counts"].items()},
                duplicate_rate=float(data["duplicate_rate"]),
                disagreement_rate=float(data["disagreement_rate"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a data set's baseline: {error!r}") from error


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
        baseline: Shape of this data set, or None where labels and inputs were not screened.
    """

    n: int
    seed: int
    suspects: tuple[Suspect, ...]
    findings: tuple[Finding, ...]
    detectors: tuple[str, ...]
    skipped: Mapping[str, str]
    baseline: DatasetBaseline | None = None

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
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
            "atlas": ["AML.T0020", "AML.T0018.000", "AML.T0059"],
        }


def ranked(suspects: Iterable[Suspect]) -> tuple[Suspect, ...]:
    """Each row once, with all evidence, under the kind of its strongest; strongest first.

    A trigger explains a label that disagrees, and not the other way round: among kinds the row
    keeps the one that names more than a label.
    """
    merged: dict[int, Suspect] = {}
    for suspect in sorted(suspects, key=lambda s: (s.kind == "label-noise", -s.score)):
        first = merged.setdefault(suspect.index, suspect)
        merged[suspect.index] = Suspect(
            index=first.index,
            score=max(first.score, suspect.score),
            kind=first.kind,
            label=first.label,
            evidence={**suspect.evidence, **first.evidence},
        )
    return tuple(sorted(merged.values(), key=lambda s: (-s.score, s.index)))
