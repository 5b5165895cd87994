"""Drift tests: distances, a p-value and a verdict for each feature.

    counts and distances → p-values → Holm's correction → DriftReport

Sources: Smirnov 1948 (asymptotic p-value, with the finite-sample correction of Stephens 1970);
Holm 1979 (many features at once); Wilson and Hilferty 1931 (χ²). PSI and Jensen-Shannon compare
tenths of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.drift.distances import (
    jensen_shannon,
    ks_from_counts,
    population_stability,
    total_variation,
)
from mlsecops.drift.inputs import Bools, Counts, Floats

_PSI_BINS: Final = 10  # bins; tenths of the reference, as usual for PSI
_TERMS: Final = np.arange(1.0, 17.0)
_SIGNS: Final = np.where(_TERMS % 2, 1.0, -1.0)
_CERTAIN_BELOW: Final = 0.3  # scaled distance; 1 - p is below 1e-5 there


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """Drift of one feature.

    Attributes:
        ks: Kolmogorov-Smirnov distance in [0, 1] (total variation for a categorical feature).
        psi: Population stability index, ≥ 0; missing values have a bin.
        jensen_shannon: Jensen-Shannon distance in [0, 1], over the same bins.
        wasserstein: Mean distance that a finite value moved, in units of the feature, or None.
        p_value: Probability of a distance this large without drift, before correction.
        missing: Share of missing values in the compared rows.
        unseen: Share of categories that the reference does not have; 0 for features with an order.
        error_bound: Largest error of `ks`, which is too small (of a sketch: either way, at 99 %).
        drifted: Whether the distance is significant after correction and at least the effect size.
    """

    ks: float
    psi: float
    jensen_shannon: float
    wasserstein: float | None
    p_value: float
    missing: float
    error_bound: float
    drifted: bool
    unseen: float = 0.0


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """Drift of all features.

    Attributes:
        rows: Number of rows compared with the baseline.
        features: Drift of each feature by its name.
        alpha: Family-wise error rate over all features.
    """

    rows: int
    features: Mapping[str, FeatureDrift]
    alpha: float

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the features that drifted, furthest first."""
        names = [name for name, each in self.features.items() if each.drifted]
        return tuple(sorted(names, key=lambda name: -self.features[name].ks))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        features = {name: asdict(each) for name, each in self.features.items()}
        facts = {"rows": self.rows, "alpha": self.alpha, "drifted": list(self.drifted)}
        return facts | {"features": features}


@dataclass(frozen=True, slots=True)
class Distances:
    """Kolmogorov-Smirnov distances, their largest errors, and Wasserstein distances `(d,)`."""

    ks: Floats
    bound: Floats
    wasserstein: Floats | None = None


@dataclass(frozen=True)
class Sample:
    """One side of a comparison: rows per bin `(d, bins)`, and missing values `(d,)`.

    A reference computes its properties only once.
    """

    counts: Counts
    missing: Counts

    @cached_property
    def present(self) -> Counts:
        """Values that are not missing, `(d,)`."""
        total: Counts = self.counts.sum(axis=1)
        return total

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts[:1].sum() + self.missing[:1].sum())

    @cached_property
    def tenths(self) -> Counts:
        """Tenth of this sample that each bin belongs to, numbered through all features."""
        total = np.maximum(self.present, 1)[:, None]
        middle = (self.counts.cumsum(axis=1) - self.counts / 2) / total
        groups = np.minimum((middle * _PSI_BINS).astype(np.int64), _PSI_BINS - 1)
        return groups + np.arange(len(groups))[:, None] * (_PSI_BINS + 1)

    @cached_property
    def shares(self) -> Floats:
        """Shares of this sample in its tenths, as `shares_in`."""
        return self.shares_in(self)

    def shares_in(self, reference: Sample) -> Floats:
        """Shares in a reference's tenths, missing values last, smoothed by half a row a bin."""
        places, width = reference.tenths, _PSI_BINS + 1
        size = len(places) * width
        sums = np.bincount(places.ravel(), weights=self.counts.ravel(), minlength=size)
        table = sums.reshape(-1, width) + 0.5
        table[:, -1] += self.missing
        shares: Floats = table / table.sum(axis=1, keepdims=True)
        return shares


def ks_p_value(distance: Floats, n: Counts, m: Counts) -> Floats:
    """Asymptotic p-value of two-sample distances (conservative for discrete features)."""
    effective = np.sqrt(n * m / np.maximum(n + m, 1))
    scaled = (effective + 0.12 + 0.11 / np.maximum(effective, 1e-9)) * distance
    series = 2 * np.exp(-2 * np.square(_TERMS * scaled[:, None])) @ _SIGNS
    certain = (scaled < _CERTAIN_BELOW) | (n == 0) | (m == 0)
    return np.where(certain, 1.0, np.clip(series, 0.0, 1.0))


def report(
    names: tuple[str, ...],
    reference: Sample,
    window: Sample,
    *,
    distances: Distances | None = None,
    categorical: Bools,
    alpha: float,
    effect: float,
    verdict: tuple[Bools, Floats] | None = None,
) -> DriftReport:
    """Compare two samples feature by feature, as `Baseline.drift`.

    `distances` are more exact than those of the counts, for features with an order; `categorical`
    marks the features without one `(d,)`; `verdict` has drifted features and p-values of another
    test.
    """
    known = distances or Distances(*ks_from_counts(reference.counts, window.counts))
    ks, bound = known.ks.copy(), known.bound.copy()
    chosen = np.flatnonzero(categorical)
    if len(chosen):
        ks[chosen] = total_variation(reference.counts[chosen], window.counts[chosen])
        bound[chosen] = 0.0
    verdicts, p_value = verdict or _verdict(
        reference, window, ks, chosen, alpha=alpha, effect=effect
    )
    shares = reference.shares, window.shares_in(reference)
    columns = (
        ks,
        population_stability(*shares),
        jensen_shannon(*shares),
        [None] * len(names) if known.wasserstein is None else known.wasserstein,
        p_value,
        window.missing / max(window.rows, 1),
        bound,
        verdicts,
        # Values between the categories, which are the edges, are none of them.
        categorical * window.counts[:, ::2].sum(axis=1) / max(window.rows, 1),
    )
    rows = zip(*(np.asarray(each).tolist() for each in columns), strict=True)
    readings = [
        FeatureDrift(
            ks=distance, psi=psi, jensen_shannon=divergence, wasserstein=moved, p_value=p,
            missing=gone, error_bound=error, drifted=drifted, unseen=new,
        )
        for distance, psi, divergence, moved, p, gone, error, drifted, new in rows
    ]  # fmt: skip
    features = MappingProxyType(dict(zip(names, readings, strict=True)))
    return DriftReport(rows=window.rows, features=features, alpha=alpha)


def _verdict(
    reference: Sample, window: Sample, ks: Floats, codes: Counts, *, alpha: float, effect: float
) -> tuple[Bools, Floats]:
    """Drifted features and their p-values before Holm's correction, by distances `(d,)`."""
    p_value = ks_p_value(ks, reference.present, window.present)
    if len(codes):
        p_value[codes] = _chi_square(reference.counts[codes], window.counts[codes])
    gone = np.zeros_like(ks)
    either = (reference.missing > 0) | (window.missing > 0)
    if either.any():
        gone, gone_p = _missing(reference, window)
        p_value = np.where(either, np.minimum(1.0, 2 * np.minimum(p_value, gone_p)), p_value)
    return (_holm(p_value) <= alpha) & (np.maximum(ks, gone) >= effect), p_value


def _chi_square(reference: Counts, window: Counts) -> Floats:
    """p-value of the two-sample χ² test, by Wilson and Hilferty's normal approximation."""
    n, m = (np.maximum(each.sum(axis=1, keepdims=True), 1) for each in (reference, window))
    both = reference + window
    seen = np.where(both == 0, 1, both)
    parts = np.square(reference * np.sqrt(m / n) - window * np.sqrt(n / m)) / seen
    degrees = np.maximum((both > 0).sum(axis=1) - 1, 1)
    spread = 2 / (9 * degrees)
    z = ((parts.sum(axis=1) / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread)
    return np.array([math.erfc(each / math.sqrt(2)) / 2 for each in z])


def _missing(reference: Sample, window: Sample) -> tuple[Floats, Floats]:
    """Change in the share of missing values and its two-sided p-value (pooled z-test)."""
    n, m = max(reference.rows, 1), max(window.rows, 1)
    change = np.abs(reference.missing / n - window.missing / m)
    pooled = (reference.missing + window.missing) / (n + m)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = np.divide(change, spread, out=np.zeros_like(change), where=spread > 0)
    return change, np.array([math.erfc(each / math.sqrt(2)) for each in z])


def _holm(p_values: Floats) -> Floats:
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.maximum.accumulate(np.minimum(p_values[order] * factors, 1.0))
    result = np.empty_like(corrected)
    result[order] = corrected
    return result
