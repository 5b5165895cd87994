"""Distances between two samples of one feature, from sorted values or from counts.

    sorted values (n,), (m,) → Kolmogorov-Smirnov, Wasserstein
    shares per bin → population stability index, Jensen-Shannon

Sources: Smirnov 1948 (two-sample distance); Vallender 1974 (Wasserstein distance on the line);
Lin 1991 (Jensen-Shannon divergence). PSI is the symmetrised Kullback-Leibler divergence.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mlsecops.drift.inputs import Counts, Floats

_MARKS: Final = 1024  # of the reference; chosen: few enough to be faster than a full search


def exact_ks(reference: Floats, values: Floats) -> float:
    """Two-sample distance of a sorted reference `(n,)` and sorted values `(m,)` without NaN.

    Values between two marks of the reference are compared only if the largest distance could be
    among them, which most intervals rule out.
    """
    n, m = len(reference), len(values)
    if not n or not m:
        return 0.0
    ranks = np.arange(0, n, max(1, n // _MARKS))
    starts = np.concatenate([[0], values.searchsorted(reference[ranks]), [m]])
    floor, ceiling = np.append(0, ranks + 1) / n, np.append(ranks, n) / n
    bound = np.maximum(starts[1:] / m - floor, ceiling - starts[:-1] / m)
    bound[starts[1:] == starts[:-1]] = 0.0
    first = int(bound.argmax())
    worst = _largest(reference, values, np.arange(starts[first], starts[first + 1]))
    places = np.flatnonzero(np.repeat(bound > worst, np.diff(starts)))
    return max(worst, _largest(reference, values, places)) if len(places) else worst


def weighted_ks(reference: Floats, values: Floats, weights: Floats) -> float:
    """Two-sample distance of a sorted reference `(n,)` and sorted, weighted values `(m,)`."""
    if not len(reference) or not len(values):
        return 0.0
    shares = np.append(0.0, weights.cumsum() / weights.sum())
    return _stepped(reference, values, shares[:-1], shares[1:])


def wasserstein(reference: Floats, totals: Floats, values: Floats) -> float:
    """Wasserstein distance, in units of the feature, of sorted finite samples `(n,)` and `(m,)`.

    `totals` are the running sums of the reference, from 0 on, `(n + 1,)`.
    """
    n, m = len(reference), len(values)
    if not n or not m:
        return 0.0
    steps = np.arange(m + 1) * (n / m)
    low, high = steps[:-1], steps[1:]
    # Between two steps the quantile of `values` is constant; the reference passes it at `turn`.
    turn = np.clip(reference.searchsorted(values), low, high)
    whole = np.minimum(steps.astype(np.int64), n - 1)
    area = totals[whole] + (steps - whole) * reference[whole]
    place = np.minimum(turn.astype(np.int64), n - 1)
    middle = totals[place] + (turn - place) * reference[place]
    moved = values * (2 * turn - low - high) + area[1:] + area[:-1] - 2 * middle
    return max(float(moved.sum()) / n, 0.0)


def ks_from_counts(reference: Counts, window: Counts) -> tuple[Floats, Floats]:
    """Distances at the edges `(d,)`, and how much larger each can be between them `(d,)`.

    The counts are `(d, bins)`, atoms at odd places and intervals at even ones.
    """
    high_f, high_g = _cumulative(reference), _cumulative(window)
    low_f, low_g = _shifted(high_f), _shifted(high_g)
    distance: Floats = np.abs(high_f - high_g).max(axis=1)
    gaps = np.maximum(high_f - low_g, high_g - low_f)[:, ::2]
    bound: Floats = np.maximum(gaps.max(axis=1) - distance, 0.0)
    return distance, bound


def population_stability(p: Floats, q: Floats) -> Floats:
    """Population stability index of shares `(d, bins)` above 0, per row."""
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1), dtype=np.float64)


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon distance (root of the divergence in bits), in [0, 1], of `(d, bins)`."""
    middle = (p + q) / 2
    divergence = (p * np.log2(p / middle) + q * np.log2(q / middle)).sum(axis=1) / 2
    distance: Floats = np.sqrt(np.maximum(divergence, 0.0))
    return distance


def total_variation(reference: Counts, window: Counts) -> Floats:
    """Half the absolute difference of two distributions over categories `(d, bins)`."""
    shares = [each / np.maximum(each.sum(axis=1, keepdims=True), 1) for each in (reference, window)]
    distance: Floats = np.abs(shares[0] - shares[1]).sum(axis=1) / 2
    return distance


def _largest(reference: Floats, values: Floats, places: Counts) -> float:
    m = len(values)
    return _stepped(reference, values[places], places / m, (places + 1) / m)


def _stepped(reference: Floats, values: Floats, below: Floats, upto: Floats) -> float:
    """Largest distance at values where the other distribution function steps."""
    n = len(reference)
    left = reference.searchsorted(values)
    right = left
    tied = reference[np.minimum(left, n - 1)] == values
    if tied.any():
        right = left.copy()
        right[tied] = reference.searchsorted(values[tied], side="right")
    return max(float((upto - right / n).max()), float((left / n - below).max()), 0.0)


def _cumulative(counts: Counts) -> Floats:
    """Distribution function at the upper end of each bin."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cumulative: Floats = counts.cumsum(axis=1) / total
    return cumulative


def _shifted(cumulative: Floats) -> Floats:
    """Distribution function at the lower end of each bin."""
    low = np.zeros_like(cumulative)
    low[:, 1:] = cumulative[:, :-1]
    return low
