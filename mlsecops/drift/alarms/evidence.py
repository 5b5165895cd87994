"""Evidence of drift in one window: distances, and p-values that know how many rows count.

    counts of reference and window, variance of a mean → Evidence: distance, p-value a feature

Sources: Smirnov 1948 (asymptotic p-value); Mann and Whitney 1947 (a shift in location, which the
rank sum finds with fewer rows); Pearson 1900, with Rao and Scott's 1981 correction (χ² divided by
the design effect).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops.drift.inputs import Bools, Floats

_USUAL: Final = 5.0  # expected rows of a category; Cochran 1954: χ² of fewer is no χ²
_TESTS: Final = 3  # location, shape, missing values
_LEAST: Final = 1e-300  # p-value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Evidence against a window, by feature.

    Attributes:
        distance: Largest of the distances of values and of missing shares, in [0, 1], `(d,)`.
        p_value: Probability of such a window without drift `(d,)`.
    """

    distance: Floats
    p_value: Floats


def weigh(
    known: Floats,
    gone: Floats,
    counts: Floats,
    missing: Floats,
    *,
    categorical: Bools,
    window_effect: Floats,
    known_effect: Floats,
    lasting: Floats,
) -> Evidence:
    """Compare a window with a reference.

    Args:
        known: Reference rows per bin `(d, bins)`.
        gone: Missing values of the reference `(d,)`.
        counts: Rows of the window per bin `(d, bins)`.
        missing: Missing values of the window `(d,)`.
        categorical: Features without order `(d,)`.
        window_effect: Design effect of the window `(d,)`.
        known_effect: Design effect of the reference `(d,)`.
        lasting: Variance that never averages out, in variances of a row `(d,)`.
    """
    n, m = known.sum(axis=1), counts.sum(axis=1)
    noise = known_effect / np.maximum(n, 1) + window_effect / np.maximum(m, 1) + lasting
    shares = known / np.maximum(n, 1)[:, None], counts / np.maximum(m, 1)[:, None]
    ks = np.abs(np.cumsum(shares[1] - shares[0], axis=1)).max(axis=1)
    p_value = np.minimum(_smirnov(ks, noise), _rank_sum(*shares, noise))
    chosen = np.flatnonzero(categorical)
    if len(chosen):
        first, second = shares[0][chosen], shares[1][chosen]
        ks[chosen] = np.abs(first - second).sum(axis=1) / 2
        p_value[chosen] = _chi_square(first, second, m[chosen], noise[chosen])
    ks, p_value = np.where(m > 0, ks, 0.0), np.where((m > 0) & (n > 0), p_value, 1.0)
    rows = np.maximum(n + gone, 1), np.maximum(m + missing, 1)
    noise = known_effect / rows[0] + window_effect / rows[1] + lasting
    absent, p_absent = _absence(gone, missing, rows, noise)
    both = np.minimum(p_value, p_absent)
    return Evidence(distance=np.maximum(ks, absent), p_value=np.clip(both * _TESTS, _LEAST, 1.0))


def _smirnov(ks: Floats, noise: Floats) -> Floats:
    return np.asarray(2 * np.exp(-2 * np.square(ks) / noise), dtype=np.float64)


def _rank_sum(known: Floats, fresh: Floats, noise: Floats) -> Floats:
    ranks = known.cumsum(axis=1) - known / 2
    middle = (known * ranks).sum(axis=1)
    spread = (known * np.square(ranks - middle[:, None])).sum(axis=1)
    shift = np.abs((fresh * ranks).sum(axis=1) - middle)
    deviation = np.sqrt(np.maximum(spread * noise, 1e-300))
    z = np.where(spread > 0, shift / deviation, 0.0)
    return _two_sided(z)


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
    ratio = gaps.sum(axis=1) / noise / degrees
    spread = 2 / (9 * degrees)
    z = (np.cbrt(ratio) - (1 - spread)) / np.sqrt(spread)
    return np.where(z > 0, _two_sided(z) / 2, 1.0)


def _absence(
    gone: Floats, missing: Floats, rows: tuple[Floats, Floats], noise: Floats
) -> tuple[Floats, Floats]:
    """Change in the share of missing values, and its p-value."""
    n, m = rows
    change = np.abs(gone / n - missing / m)
    pooled = (gone + missing) / (n + m)
    deviation = np.sqrt(np.maximum(pooled * (1 - pooled) * noise, 1e-300))
    # Within half a row of the window, a change is rounding.
    z = np.where((missing + gone) > 0, np.maximum(change - 0.5 / m, 0.0) / deviation, 0.0)
    return change, _two_sided(z)


def _two_sided(z: Floats) -> Floats:
    return np.array([math.erfc(each / math.sqrt(2)) for each in z])
