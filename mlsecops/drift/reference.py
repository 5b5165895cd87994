"""What a table's columns looked like: sorted samples and bins to compare further tables with.

table (n, d) → Reference.fit → Reference.drift(rows, Profile or Sketch) → DriftReport

Each column is kept on its own, sorted, so that no row can be read from a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.distances import exact_ks, wasserstein
from mlsecops.drift.histograms import Layout, Profile, checked_edges
from mlsecops.drift.quantile_sketch import Sketch
from mlsecops.drift.tests import Distances, DriftReport, Sample, report
from mlsecops.errors import FormatRefused, UsageError

__all__ = ["Reference"]

Floats = NDArray[np.float64]

_MAX_NUMBERS: Final = 2**23
_EDGES: Final = 64
_MAX_CATEGORIES: Final = 1024
_TABLE: Final = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Frozen distributions of d columns.

    Attributes:
        names: Names of the columns.
        categorical: `(d,)` which columns have no order.
        sample: `(d, m)` sorted values of each column, NaN last.
        layout: Bins of the profiles.
    """

    names: tuple[str, ...]
    categorical: NDArray[np.bool_]
    sample: Floats
    layout: Layout

    @classmethod
    def fit(
        cls,
        rows: Floats,
        *,
        names: tuple[str, ...],
        categorical: NDArray[np.bool_],
        keep: int,
        rng: np.random.Generator,
    ) -> Reference:
        """Describe a table.

        Args:
            rows: `(n, d)`, NaN is a missing value.
            names: Names of the d columns.
            categorical: `(d,)` which columns have no order.
            keep: Most rows whose values are kept; more are thinned out at random.
            rng: Chooses the rows that are kept.
        """
        limit = max(2, min(keep, _MAX_NUMBERS // max(rows.shape[1], 1)))
        kept = rows if len(rows) <= limit else rows[rng.choice(len(rows), limit, replace=False)]
        sample = np.sort(kept.T, axis=1)
        layout = Layout(names=names, edges=_edges(sample, categorical))
        return cls(names=names, categorical=categorical, sample=sample, layout=layout)

    def profile(self) -> Profile:
        """An empty profile with these bins."""
        return Profile(self.layout)

    def sketch(self, *, k: int = 200) -> Sketch:
        """An empty sketch of these columns.

        Args:
            k: Size: the error falls and the bytes grow with it, 8 to 65,535.
        """
        return Sketch(self.names, k=k)

    def drift(
        self,
        traffic: Floats | Profile | Sketch,
        *,
        alpha: float,
        effect: float,
        wasserstein: bool = False,
    ) -> DriftReport:
        """Compare a table with this reference, column by column.

        Args:
            traffic: `(n, d)` rows, or what was counted or sketched of them.
            alpha: Family-wise error rate over all columns.
            effect: Smallest distance that matters.
            wasserstein: Whether rows also get their Wasserstein distance.

        Raises:
            UsageError: The traffic was not counted with these bins or columns.
        """
        if isinstance(traffic, Profile):
            window, distances = self._counted(traffic), None
        elif isinstance(traffic, Sketch):
            window, distances = self._sketched(traffic)
        else:
            window, distances = self._exact(traffic, transport=wasserstein)
        return report(
            self.names,
            self._counts,
            window,
            distances=distances,
            categorical=self.categorical,
            alpha=alpha,
            effect=effect,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a file."""
        codes = self.categorical.astype(np.int64)
        return {"categorical": codes, "sample": self.sample, "edges": self.layout.edges}

    @classmethod
    def from_arrays(cls, names: tuple[str, ...], arrays: dict[str, NDArray[Any]]) -> Reference:
        """Read back what `arrays` gave.

        Raises:
            FormatRefused: An array cannot be one of ours.
            KeyError: An array is absent.
        """
        sample = arrays["sample"]
        if sample.ndim != _TABLE or len(sample) != len(names) or sample.dtype != np.float64:
            raise FormatRefused("the sample does not have a row for each column")
        # NaN sorts last, and compares with nothing: a number after one is out of order too.
        gaps = np.isnan(sample)
        if (sample[:, 1:] < sample[:, :-1]).any() or (gaps[:, :-1] & ~gaps[:, 1:]).any():
            raise FormatRefused("the samples are not sorted")
        codes = arrays["categorical"].reshape(len(names)).astype(bool)
        layout = Layout(names=names, edges=checked_edges(arrays["edges"], len(names)))
        return cls(names=names, categorical=codes, sample=sample, layout=layout)

    @cached_property
    def _counts(self) -> Sample:
        """The reference's own counts."""
        counts, missing = self.layout.count(self.sample)
        return Sample(counts=counts, missing=missing)

    @cached_property
    def _finite(self) -> list[tuple[Floats, Floats]]:
        """Finite values of each column, and their running sums from 0 on."""
        columns = [column[np.isfinite(column)] for column in self.sample]
        return [(each, np.append(0.0, each.cumsum())) for each in columns]

    def _counted(self, profile: Profile) -> Sample:
        known = self.layout
        if profile.layout is not known and profile.layout.identity != known.identity:
            raise UsageError("the profile has other bins: take it from this baseline.profile()")
        return Sample(counts=profile.counts, missing=profile.missing)

    def _sketched(self, sketch: Sketch) -> tuple[Sample, Distances]:
        if sketch.names != self.names:
            raise UsageError("the sketch has other columns: take it from this baseline.sketch()")
        counts = sketch.counts(self.layout.edges)
        bound = np.full(len(self.names), sketch.error_bound)
        present = self._counts.present
        columns = [row[:n] for row, n in zip(self.sample, present, strict=True)]
        return Sample(counts=counts, missing=sketch.missing), Distances(
            ks=sketch.distances(columns), bound=bound
        )

    def _exact(self, rows: Floats, *, transport: bool) -> tuple[Sample, Distances]:
        ordered = np.sort(rows.T, axis=1)
        counts, missing = self.layout.count(ordered)
        window = Sample(counts=counts, missing=missing)
        sides = zip(self.sample, self._counts.present, ordered, window.present, strict=True)
        ks = np.array([exact_ks(known[:n], fresh[:m]) for known, n, fresh, m in sides])
        moved = None
        if transport:
            moved = np.array(
                [
                    wasserstein(*known, column[np.isfinite(column)])
                    for known, column in zip(self._finite, ordered, strict=True)
                ]
            )
        return window, Distances(ks=ks, bound=np.zeros(len(ks)), wasserstein=moved)


def _edges(sample: Floats, categorical: NDArray[np.bool_]) -> Floats:
    """Values of the sample at which the distribution function is known exactly."""
    columns = [
        _chosen(row[~np.isnan(row)], _MAX_CATEGORIES if code else _EDGES)
        for row, code in zip(sample, categorical, strict=True)
    ]
    width = max(1, *(len(column) for column in columns))
    edges = np.full((len(columns), width), np.inf)
    for row, column in zip(edges, columns, strict=True):
        row[: len(column)] = column
    return edges


def _chosen(ordered: Floats, limit: int) -> Floats:
    """All distinct values if they are few, else quantiles among them."""
    distinct = np.unique(ordered)
    if len(distinct) <= limit:
        return distinct
    ranks = np.linspace(0, len(ordered) - 1, limit).round().astype(np.int64)
    return np.unique(ordered[ranks])
