"""Evidence of drift in one window: distances, and p-values that know how many rows count.

    Known of the reference, counts of a window, variance of a mean → WindowEvidence of each feature

Sources: Smirnov 1948 (asymptotic p-value); Mann and Whitney 1947 (a shift in location, which the
rank sum finds with fewer rows); Pearson 1900, with Rao and Scott's 1981 correction (χ² divided by
the design effect); Press et al. 1992, section 6.2 (complementary error function).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops.drift.inputs import Bools, Counts, Floats

_USUAL: Final = 5.0  # expected rows of a category; Cochran 1954: χ² of fewer is no χ²
TESTS: Final = 2  # location and shape; missing values are a third where there are any
_USUAL_SMIRNOV: Final = 0.8687  # mean of Kolmogorov's distribution, √(π/2)·ln 2
_LEAST: Final = 1e-300  # p-value or variance
_ERROR_FUNCTION: Final = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
    0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
)  # coefficients of Press et al.; relative error below 1.2e-7  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowEvidence:
    """Evidence against a window, by feature.

    Attributes:
        distance: Largest of the distances of values and of missing shares, less what chance adds to
            it, in [0, 1], `(d,)`.
        p_value: Probability of such a window without drift `(d,)`.
    """

    distance: Floats
    p_value: Floats

    def take(self, features: Counts) -> WindowEvidence:
        """The evidence of some features."""
        return WindowEvidence(distance=self.distance[features], p_value=self.p_value[features])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A reference's side of the comparison.

    Attributes:
        rows: Values that are not missing `(d,)`.
        gone: Missing values `(d,)`.
        shares: Share of each bin `(d, bins)`.
        ranks: Mid-ranks of the bins around their mean, in [-1, 1], `(d, bins)`.
        spread: Variance of the ranks `(d,)`.
        effect: Design effect `(d,)`.
        lasting: Variance of a mean that never averages out, in variances of a row `(d,)`.
    """

    rows: Floats
    gone: Floats
    shares: Floats
    ranks: Floats
    spread: Floats
    effect: Floats
    lasting: Floats

    def take(self, features: Counts) -> Known:
        """The side of some features."""
        return Known(**{name: getattr(self, name)[features] for name in self.__slots__})

    @classmethod
    def of(cls, counts: Floats, gone: Floats, *, effect: Floats, lasting: Floats) -> Known:
        """The side of rows per bin `(d, bins)` and missing values `(d,)`."""
        rows = counts.sum(axis=1)
        shares = counts / np.maximum(rows, 1)[:, None]
        ranks = shares.cumsum(axis=1) - shares / 2
        ranks -= (shares * ranks).sum(axis=1, keepdims=True)
        return cls(
            rows=rows,
            gone=gone,
            shares=shares,
            ranks=ranks,
            spread=(shares * np.square(ranks)).sum(axis=1),
            effect=effect,
            lasting=lasting,
        )


def weigh(
    known: Known, counts: Floats, missing: Floats, *, effect: Floats, categorical: Bools
) -> WindowEvidence:
    """Compare a window with a reference.

    Args:
        known: The reference's side.
        counts: Rows of the window per bin `(d, bins)`.
        missing: Missing values of the window `(d,)`.
        effect: Design effect of the window `(d,)`.
        categorical: Features without order `(d,)`.
    """
    rows = counts.sum(axis=1)
    noise = known.effect / np.maximum(known.rows, 1) + effect / np.maximum(rows, 1) + known.lasting
    shares = counts / np.maximum(rows, 1)[:, None]
    distance = np.abs((shares - known.shares).cumsum(axis=1)).max(axis=1)
    usual = _USUAL_SMIRNOV * np.sqrt(noise)
    p_value = np.minimum(
        2 * np.exp(-2 * np.square(distance) / noise), _rank_sum(known, shares, noise)
    )
    chosen = np.flatnonzero(categorical)
    if len(chosen):
        first, second = known.shares[chosen], shares[chosen]
        distance[chosen] = np.abs(first - second).sum(axis=1) / 2
        deviations = np.sqrt(first * (1 - first) * noise[chosen, None] * 2 / math.pi)
        usual[chosen] = deviations.sum(axis=1) / 2
        p_value[chosen] = _chi_square(first, second, rows[chosen], noise[chosen])
    distance = np.sqrt(np.maximum(np.square(distance) - np.square(usual), 0.0))
    if not rows.all() or not known.rows.all():
        both = (rows > 0) & (known.rows > 0)
        distance, p_value = np.where(both, distance, 0.0), np.where(both, p_value, 1.0)
    tests = TESTS
    if missing.any() or known.gone.any():
        absent, p_absent = _absence(known, rows, missing, effect)
        distance, p_value = np.maximum(distance, absent), np.minimum(p_value, p_absent)
        tests += 1
    return WindowEvidence(distance=distance, p_value=np.clip(p_value * tests, _LEAST, 1.0))


def _rank_sum(known: Known, fresh: Floats, noise: Floats) -> Floats:
    shift = np.abs((fresh * known.ranks).sum(axis=1))
    z = shift / np.sqrt(np.maximum(known.spread * noise, _LEAST))
    return _two_sided(np.where(known.spread > 0, z, 0.0))


def _chi_square(known: Floats, fresh: Floats, rows: Floats, noise: Floats) -> Floats:
    """p-values of categories; those too rare to expect five of in the window count as one."""
    rare = known * rows[:, None] < _USUAL
    parts = []
    for side in (known, fresh):
        rest = np.where(rare, side, 0.0).sum(axis=1, keepdims=True)
        parts.append(np.concatenate([np.where(rare, 0.0, side), rest], axis=1))
    # Half a row in the rest: what the reference has not seen is still not impossible.
    expected = np.maximum(parts[0], 0.5 / np.maximum(rows, 1)[:, None] * (parts[1] > 0))
    used = expected > 0
    gaps = np.where(used, np.square(parts[1] - parts[0]) / np.where(used, expected, 1.0), 0.0)
    degrees = np.maximum(used.sum(axis=1) - 1, 1)
    # Wilson and Hilferty 1931: the cube root of χ² is nearly normal.
    ratio, spread = gaps.sum(axis=1) / noise / degrees, 2 / (9 * degrees)
    z = (np.cbrt(ratio) - (1 - spread)) / np.sqrt(spread)
    return np.where(z > 0, _two_sided(z) / 2, 1.0)


def _absence(known: Known, rows: Floats, missing: Floats, effect: Floats) -> tuple[Floats, Floats]:
    """Change in the share of missing values, and its p-value."""
    n, m = np.maximum(known.rows + known.gone, 1), np.maximum(rows + missing, 1)
    noise = known.effect / n + effect / m + known.lasting
    change = np.abs(known.gone / n - missing / m)
    pooled = (known.gone + missing) / (n + m)
    deviation = np.sqrt(np.maximum(pooled * (1 - pooled) * noise, _LEAST))
    # Within half a row of the window, a change is rounding.
    z = np.where(known.gone + missing > 0, np.maximum(change - 0.5 / m, 0.0) / deviation, 0.0)
    return change, _two_sided(z)


def _two_sided(z: Floats) -> Floats:
    """Probability that a normal variable is at least so many deviations from 0."""
    x = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + x / 2)
    series = np.polynomial.polynomial.polyval(t, np.array(_ERROR_FUNCTION))
    return np.asarray(np.minimum(t * np.exp(series - np.square(np.minimum(x, 40.0))), 1.0))
