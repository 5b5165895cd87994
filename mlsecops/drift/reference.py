"""Reference distributions of a table's columns: sorted samples and bins.

    table (n, d) → Reference.fit → Reference.drift(rows, Profile or Sketch) → DriftReport

Each column is sorted separately, so that nobody can recover a row from a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.distances import exact_ks, wasserstein
from mlsecops.drift.histograms import Layout, Profile, checked_edges
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.drift.quantile_sketch import Sketch
from mlsecops.drift.tests import Distances, DriftReport, Sample, report
from mlsecops.errors import FormatRefused, UsageError

_MAX_NUMBERS: Final = 2**23  # values, 64 MiB; chosen: bounds a baseline's file and memory
_EDGES: Final = 64  # bin edges of a numeric column; chosen: the KS distance errs by at most 1/64
_MAX_CATEGORIES: Final = 1024  # bin edges of a categorical column; chosen: one for each usual code


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Frozen distributions of d columns.

    Attributes:
        names: Names of the columns.
        categorical: `(d,)` mask of the columns without order.
        sample: `(d, m)` sorted values of each column, NaN last.
        layout: Bins of the columns.
    """

    names: tuple[str, ...]
    categorical: Bools
    sample: Floats
    layout: Layout

    @classmethod
    def fit(
        cls,
        rows: Floats,
        *,
        names: tuple[str, ...],
        categorical: Bools,
        keep: int,
        rng: np.random.Generator,
    ) -> Reference:
        """Fit a reference to rows `(n, d)`, of which at most `keep` are kept at random."""
        limit = max(2, min(keep, _MAX_NUMBERS // max(rows.shape[1], 1)))
        kept = rows if len(rows) <= limit else rows[rng.choice(len(rows), limit, replace=False)]
        sample = np.sort(kept.T, axis=1)
        layout = Layout(names=names, edges=_edges(sample, categorical))
        return cls(names=names, categorical=categorical, sample=sample, layout=layout)

    def drift(
        self,
        data: Floats | Profile | Sketch,
        *,
        alpha: float,
        effect: float,
        wasserstein: bool = False,
        verdict: tuple[Bools, Floats] | None = None,
    ) -> DriftReport:
        """Compare rows `(n, d)`, a profile or a sketch with this reference, as `Baseline.drift`.

        A `verdict` that another test reached stands instead: drifted features and p-values `(d,)`.
        """
        if isinstance(data, Profile):
            window, distances = self._from_profile(data), None
        elif isinstance(data, Sketch):
            window, distances = self._from_sketch(data)
        else:
            window, distances = self._from_rows(data, transport=wasserstein)
        return report(
            self.names,
            self.sides,
            window,
            distances=distances,
            categorical=self.categorical,
            alpha=alpha,
            effect=effect,
            verdict=verdict,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        codes = self.categorical.astype(np.int64)
        return {"categorical": codes, "sample": self.sample, "edges": self.layout.edges}

    @classmethod
    def from_arrays(cls, names: tuple[str, ...], arrays: dict[str, NDArray[Any]]) -> Reference:
        """Rebuild a reference from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        sample = arrays["sample"]
        if sample.ndim != 2 or len(sample) != len(names) or sample.dtype != np.float64:  # noqa: PLR2004 - columns by rows
            raise FormatRefused("the sample does not have a row for each column")
        # NaN sorts last and compares with nothing: a number after NaN is out of order too.
        gaps = np.isnan(sample)
        if (sample[:, 1:] < sample[:, :-1]).any() or (gaps[:, :-1] & ~gaps[:, 1:]).any():
            raise FormatRefused("the samples are not sorted")
        codes = arrays["categorical"].reshape(len(names)).astype(bool)
        layout = Layout(names=names, edges=checked_edges(arrays["edges"], len(names)))
        return cls(names=names, categorical=codes, sample=sample, layout=layout)

    @cached_property
    def sides(self) -> Sample:
        """The reference's side of a comparison: rows per bin, and missing values."""
        return Sample(*self.layout.count(self.sample))

    @cached_property
    def _finite(self) -> list[tuple[Floats, Floats]]:
        """Finite values of each column, and their running sums from 0 on."""
        columns = [column[np.isfinite(column)] for column in self.sample]
        return [(each, np.append(0.0, each.cumsum())) for each in columns]

    def _from_profile(self, profile: Profile) -> Sample:
        known = self.layout
        if profile.layout is not known and profile.layout.identity != known.identity:
            raise UsageError(
                "profile: expected this baseline's bins; make it by baseline.profile()"
            )
        return Sample(profile.counts, profile.missing)

    def _from_sketch(self, sketch: Sketch) -> tuple[Sample, Distances]:
        if sketch.names != self.names:
            raise UsageError(
                "sketch: expected this baseline's columns; make it by baseline.sketch()"
            )
        bound = np.full(len(self.names), sketch.error_bound)
        columns = [row[:n] for row, n in zip(self.sample, self.sides.present, strict=True)]
        window = Sample(sketch.counts(self.layout.edges), sketch.missing)
        return window, Distances(sketch.distances(columns), bound)

    def _from_rows(self, rows: Floats, *, transport: bool) -> tuple[Sample, Distances]:
        ordered = np.sort(rows.T, axis=1)
        window = Sample(*self.layout.count(ordered))
        sides = zip(self.sample, self.sides.present, ordered, window.present, strict=True)
        ks = np.array([exact_ks(known[:n], fresh[:m]) for known, n, fresh, m in sides])
        moved = None
        if transport:
            pairs = zip(self._finite, ordered, strict=True)
            moved = np.array([wasserstein(*known, row[np.isfinite(row)]) for known, row in pairs])
        return window, Distances(ks, np.zeros(len(ks)), moved)


def _edges(sample: Floats, categorical: Bools) -> Floats:
    """Values of the sample at which profiles know the distribution function exactly."""
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
    """All distinct values if they are few, else quantiles."""
    distinct = np.unique(ordered)
    if len(distinct) <= limit:
        return distinct
    ranks = np.linspace(0, len(ordered) - 1, limit).round().astype(np.int64)
    return np.unique(ordered[ranks])
