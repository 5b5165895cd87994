"""Statistics of a trusted data set, and the shift of a later one.

rows, labels → `DatasetBaseline` → signed Statement → Verified → `DatasetBaseline.from_verified`

Source: in-toto Attestation Framework v1, for the Statement around it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.statement import Statement
from mlsecops.signing.verified import Verified

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASELINE_PREDICATE: Final = "urn:mlsecops:dataset-baseline:1"
_GROUPS: Final = 64  # groups of neighbouring columns; chosen: bounds the size of a baseline
_LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles; chosen
_SHIFT: Final = 5.0  # standard errors; chosen: a rate that moves further is reported
_VISIBLE: Final = 0.02  # share; chosen: a smaller move is ignored, however significant
_RARE: Final = 0.2  # of the mean class size; chosen


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetBaseline:
    """Statistics of a trusted data set, for comparison with a later one.

    Attributes:
        n: Rows.
        class_counts: Rows by label.
        duplicate_rate: Share of rows that equal an earlier one.
        disagreement_rate: Share of rows whose label a cross-validated model contradicts.
        spreads: Label → for each of at most 64 groups of neighbouring columns, pairs of a value
            and the share of the label's rows whose mean over the group is at most this.

    Examples:
        >>> x, y = np.eye(4), np.array([0, 0, 1, 1])
        >>> baseline = DatasetBaseline.of(x, y, duplicate_rate=0, disagreement_rate=0)
        >>> DatasetBaseline.from_dict(baseline.to_dict()).class_counts
        {0: 2, 1: 2}
    """

    n: int
    class_counts: Mapping[int, int]
    duplicate_rate: float
    disagreement_rate: float
    spreads: Mapping[int, tuple[tuple[tuple[float, float], ...], ...]]

    @classmethod
    def of(
        cls, x: Any, y: NDArray[np.int64], *, duplicate_rate: float, disagreement_rate: float
    ) -> DatasetBaseline:
        """Statistics of inputs `(n, *shape)`, in their own units, and labels `(n,)`."""
        low, labels = _grouped(x), np.unique(y).tolist()
        return cls(
            n=len(y),
            class_counts={label: int((y == label).sum()) for label in labels},
            duplicate_rate=duplicate_rate,
            disagreement_rate=disagreement_rate,
            spreads={label: tuple(map(_spread, low[y == label].T)) for label in labels},
        )

    @classmethod
    def from_verified(cls, verified: Verified) -> DatasetBaseline:
        """The baseline that was signed together with its data.

        Raises:
            UsageError: The signature holds no such Statement, or several.
        """
        signed = [s for s in verified.statements if s.predicate_type == BASELINE_PREDICATE]
        if len(signed) != 1:
            raise UsageError(
                f"{verified.name}: expected one signed baseline, got {len(signed)}: sign the data "
                "with statements=[report.baseline.statement(…)]"
            )
        return cls.from_dict(signed[0].predicate)

    def statement(self, subjects: Mapping[str, Digest]) -> Statement:
        """A Statement about the data with these digests, to be signed with it."""
        return Statement.build(
            subjects=subjects, predicate_type=BASELINE_PREDICATE, predicate=self.to_dict()
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "n": self.n,
            "class_counts": {str(label): count for label, count in self.class_counts.items()},
            "duplicate_rate": self.duplicate_rate,
            "disagreement_rate": self.disagreement_rate,
            "spreads": {str(k): json.loads(json.dumps(v)) for k, v in self.spreads.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetBaseline:
        """Read what `to_dict` wrote.

        Raises:
            UsageError: It is not such a baseline.
        """
        try:
            found = cls(
                n=int(data["n"]),
                class_counts={int(k): int(v) for k, v in data["class_counts"].items()},
                duplicate_rate=float(data["duplicate_rate"]),
                disagreement_rate=float(data["disagreement_rate"]),
                spreads={int(k): _pairs(groups) for k, groups in data["spreads"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a data set's baseline: {error!r}") from error
        if found.n < 1 or min(found.class_counts.values(), default=0) < 1:
            raise UsageError("not a data set's baseline: expected at least one row in each class")
        return found

    def imbalance(self) -> list[Finding]:
        """Classes with far fewer rows than the mean."""
        mean = self.n / len(self.class_counts)
        return [
            _finding("class-imbalance", f"class {label} has {count} rows, the mean is {mean:.0f}")
            for label, count in self.class_counts.items()
            if count < _RARE * mean
        ]

    def moved_from(self, then: DatasetBaseline, x: Any, y: NDArray[np.int64]) -> list[Finding]:
        """Significant differences from an earlier baseline; x and y are the data of this one."""
        rates = {
            "duplicate rate": (self.duplicate_rate, then.duplicate_rate),
            "label disagreement": (self.disagreement_rate, then.disagreement_rate),
        } | {
            f"share of class {label}": (
                self.class_counts.get(label, 0) / self.n,
                then.class_counts.get(label, 0) / then.n,
            )
            for label in sorted({*self.class_counts, *then.class_counts})
        }
        moved = [
            _finding("baseline-shift", f"{name} is {rate:.3%}, in the baseline {before:.3%}")
            for name, (rate, before) in rates.items()
            if abs(rate - before) > _SHIFT * _error(rate, self.n, before, then.n)
        ]
        return [*moved, *_moved_classes(then, _grouped(x), y)]


def _grouped(x: Any) -> NDArray[np.float64]:
    flat = np.asarray(x).reshape(len(x), -1)
    parts = np.array_split(np.arange(flat.shape[1]), min(_GROUPS, flat.shape[1]))
    return np.stack([flat[:, p[0] : p[-1] + 1].mean(axis=1, dtype=float) for p in parts], axis=1)


def _spread(column: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    values = np.quantile(column, _LEVELS, method="lower")
    return tuple((float(v), float((column <= v).mean())) for v in values)


def _pairs(groups: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((float(v), float(s)) for v, s in group) for group in groups)


def _moved_classes(
    then: DatasetBaseline, low: NDArray[np.float64], y: NDArray[np.int64]
) -> Iterator[Finding]:
    for label, groups in then.spreads.items():
        mine = low[y == label]
        if not len(mine):
            continue
        if len(groups) != low.shape[1]:
            text = f"rows have {low.shape[1]} groups of columns, in the baseline {len(groups)}"
            yield _finding("baseline-shift", text)
            return
        count = then.class_counts[label]
        moved = [i for i, g in enumerate(groups) if _differs(mine[:, i], g, before=count)]
        if moved:
            text = f"values of class {label} moved in {len(moved)} of {len(groups)} column groups"
            yield _finding("baseline-shift", text)


def _differs(
    column: NDArray[np.float64], group: tuple[tuple[float, float], ...], *, before: int
) -> bool:
    for value, share in group:
        now = float((column <= value).mean())
        error = _error(now, len(column), share, before)
        if abs(now - share) > max(_SHIFT * error, _VISIBLE):
            return True
    return False


def _error(rate: float, n: int, before: float, m: int) -> float:
    """Standard error of the difference of two rates, with Laplace smoothing."""
    pooled = (rate * n + before * m + 1) / (n + m + 2)
    return float((pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5)


def _finding(rule: str, message: str) -> Finding:
    return Finding(
        rule=rule, severity=Severity.MEDIUM, message=message, where="", artifact="data set"
    )
