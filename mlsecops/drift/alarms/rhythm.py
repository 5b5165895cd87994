"""Rhythm of day and week: distributions by hour for the features that follow it.

    rows, times → Rhythm.fit → Rhythm.expected(hours of a window) → rows per bin to expect

A feature that follows the hour is compared with the reference's rows of those hours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.histograms import Layout
from mlsecops.drift.inputs import Floats
from mlsecops.errors import FormatRefused

_HOUR: Final = 3600.0  # seconds
_DAY, _WEEK = 24, 168  # hours
_FEWEST_TURNS: Final = 2  # days or weeks; chosen: once is no rhythm
_FEWEST_ROWS: Final = 32  # rows of an hour; chosen: fewer make no distribution
_CERTAIN: Final = 4.0  # standard errors; chosen: few features without a rhythm pass
_MOST_NUMBERS: Final = 2**22  # counts, 32 MiB; chosen: bounds a baseline's memory
_TINY: Final = 1e-12  # variance of a constant
_EPOCH: Final = 3 * _DAY * _HOUR  # seconds from Monday to the Unix epoch, a Thursday


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rhythm:
    """Distributions by hour of the day or week.

    Attributes:
        slots: Hours of a turn: 24 or 168.
        features: Indices of the features that follow the hour `(f,)`.
        counts: Rows per hour, feature and bin `(slots, f, bins)`.
    """

    slots: int
    features: NDArray[np.int64]
    counts: Floats

    @classmethod
    def fit(cls, rows: Floats, scores: Floats, seconds: Floats, layout: Layout) -> Rhythm | None:
        """The rhythm of rows `(n, d)` with scores, at Unix times; None if there is none."""
        for slots in _turns(seconds):
            ratio = _ratio(scores, seconds, slots)
            follows = np.flatnonzero(ratio > 1 + _CERTAIN * math.sqrt(2 / (slots - 1)))
            if len(follows):
                break
        else:
            return None
        hours = _hours(seconds, slots).astype(np.int64) % slots
        width = max(_MOST_NUMBERS // (slots * layout.bins), 1)
        follows = follows[np.argsort(-ratio[follows])][:width]
        chosen = np.sort(follows)
        part = Layout(names=tuple(layout.names[i] for i in chosen), edges=layout.edges[chosen])
        counts = np.stack([part.bin(rows[hours == slot][:, chosen])[0] for slot in range(slots)])
        return cls(slots=slots, features=chosen, counts=counts.astype(np.float64))

    def without(self, scores: Floats, seconds: Floats) -> Floats:
        """Scores `(n, d)` from which the mean of the hour on other days is taken."""
        hours = _hours(seconds, self.slots).astype(np.int64) % self.slots
        turns = (seconds // (self.slots * _HOUR)).astype(np.int64)
        _, places = np.unique(turns * self.slots + hours, return_inverse=True)
        left, size = scores.copy(), np.bincount(hours, minlength=self.slots)
        for feature in self.features.tolist():
            values = scores[:, feature]
            total, size = (
                np.bincount(hours, values, self.slots),
                np.bincount(hours, None, self.slots),
            )
            own, rows = np.bincount(places, values), np.bincount(places)
            others = np.maximum(size[hours] - rows[places], 1)
            left[:, feature] -= (total[hours] - own[places]) / others
        return left

    def weights(self, seconds: Floats) -> Floats:
        """Weight of each hour `(slots,)` at Unix times; a time counts for the two next to it."""
        places = _hours(seconds, self.slots) - 0.5
        first = np.floor(places)
        share = places - first
        left = first.astype(np.int64) % self.slots
        after = np.bincount((left + 1) % self.slots, share, self.slots)
        return np.asarray(np.bincount(left, 1 - share, self.slots) + after, dtype=np.float64)

    def expected(self, weights: Floats) -> Floats:
        """Rows per bin `(f, bins)` to expect at hours with such weights, as many as are known."""
        sizes = np.maximum(self.counts.sum(axis=2), 1.0)
        shares = weights / max(float(weights.sum()), 1e-12)
        mixed = np.einsum("s,sfb->fb", shares, self.counts / sizes[:, :, None])
        rows = 1.0 / np.maximum((np.square(shares)[:, None] / sizes).sum(axis=0), 1e-12)
        return np.asarray(mixed * rows[:, None], dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        return {"features": self.features, "counts": self.counts.reshape(self.slots, -1)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], layout: Layout) -> Rhythm:
        """Rebuild from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        features, flat = arrays["features"], arrays["counts"]
        shape = (len(flat), features.size, layout.bins)
        if features.ndim != 1 or len(flat) not in {_DAY, _WEEK} or flat.size != math.prod(shape):
            raise FormatRefused("baseline: the rhythm does not fit the features")
        if features.dtype != np.int64 or not np.isin(features, np.arange(len(layout.names))).all():
            raise FormatRefused("baseline: the rhythm is of unknown features")
        if not np.isfinite(flat).all() or (flat < 0).any():
            raise FormatRefused("baseline: the rhythm has impossible counts")
        return cls(slots=len(flat), features=features, counts=flat.reshape(shape))


def _turns(seconds: Floats) -> list[int]:
    """Hours of the turns that the times cover twice with enough rows an hour, longest first."""
    span, found = float(np.ptp(seconds)) / _HOUR, []
    for slots in (_WEEK, _DAY):
        # The last hour is not over at the last row.
        if span >= _FEWEST_TURNS * slots - 1:
            sizes = np.bincount(_hours(seconds, slots).astype(np.int64) % slots, minlength=slots)
            found += [slots] if sizes.min() >= _FEWEST_ROWS else []
    return found


def _ratio(scores: Floats, seconds: Floats, slots: int) -> Floats:
    """Variance between hours over that by chance `(d,)`; of a week, beyond what its days show."""
    left = scores - scores.mean(axis=0)
    if slots == _WEEK:
        left = left - _hourly(left, seconds, _DAY)[0][_hours(seconds, _DAY).astype(np.int64)]
    means, sizes = _hourly(left, seconds, slots)
    between = (sizes[:, None] * np.square(means)).sum(axis=0)
    freedom = slots - (_DAY if slots == _WEEK else 1)
    return np.asarray(between / np.maximum(scores.var(axis=0), _TINY) / freedom)


def _hourly(scores: Floats, seconds: Floats, slots: int) -> tuple[Floats, Floats]:
    """Mean score `(slots, d)` and rows `(slots,)` of each hour."""
    hours = _hours(seconds, slots).astype(np.int64) % slots
    sizes = np.bincount(hours, minlength=slots).astype(np.float64)
    sums = [np.bincount(hours, column, slots) for column in scores.T]
    return np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None], sizes


def _hours(seconds: Floats, slots: int) -> Floats:
    """Hours since the turn began, Monday 0:00 UTC for a week."""
    return np.asarray((seconds + _EPOCH) % (slots * _HOUR) / _HOUR, dtype=np.float64)
