"""Dependence of neighbouring rows, measured as design effects of block means.

    rows in order → scores → means of blocks of 16 … 4,096 rows → design effect a block size

The design effect is the variance of a mean over that of as many independent rows: rows that come in
sessions of alike rows count for fewer. Variance that stays as blocks grow (seasons, a rhythm that
no time explains) never averages out: no window, however long, has more rows than it allows.

Sources: Kish 1965 (design effect); Künsch 1989 (blocks of dependent data); von Neumann 1941
(differences of neighbours, which a single jump does not inflate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Floats
from mlsecops.errors import FormatRefused

SIZES: Final = (16, 64, 256, 1024, 4096)  # rows of a block; chosen: windows are of such lengths
_FEWEST_BLOCKS: Final = 8  # blocks; chosen: a variance of fewer says little
_CERTAIN: Final = 4.0  # standard errors; chosen: independent rows of 50 features stay below
_LASTING: Final = 0.5  # of the variance of blocks a quarter as long; independent rows: 0.25
_LONGEST: Final = 256  # rows; from this size on variance that stays is lasting
_LIVE: Final = 3  # sizes that traffic is measured at: 16, 64 and 256 rows
_KEPT: Final = 128  # differences of each size; chosen: an hour of usual traffic at 256 rows
_FEWEST_DIFFERENCES: Final = 8  # chosen: without the largest, seven are left
_POOLED, _KNOWN = 16.0, 8.0  # differences that all features, and the reference, count for; chosen
_UNKNOWN: Final = 8.0  # design effect until 144 rows were seen; chosen: sessions of 16 alike rows
_GROWTH: Final = 4.0  # of the design effect from one size to the next; chosen: it cannot grow more
_VARIANCE: Final = 4.0  # of a trimmed mean square of differences, times their number; measured
_ERRORS: Final = 2.0  # standard errors that are noise; chosen: as usual
_OFTEN: Final = 192  # rows between two measurements at first; chosen: they take a millisecond
_SELDOM: Final = 1024  # rows between two later ones; chosen: they change slowly
_TRIMMED: Final = 0.1  # share of the differences, at least one; chosen: jumps are no dependence
_TINY: Final = 1e-12  # variance of a constant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Bounded scores of rows, by which dependence is measured.

    Attributes:
        low: Value with score 0 `(d,)`: the lowest tenth of the reference.
        span: Distance to the value with score 1 `(d,)`, 0 for a constant.
    """

    low: Floats
    span: Floats

    @classmethod
    def of(cls, sample: Floats) -> Scores:
        """Scores for sorted columns `(d, m)`, NaN last."""
        low, span = np.zeros(len(sample)), np.zeros(len(sample))
        for feature, column in enumerate(sample):
            finite = column[np.isfinite(column)]
            if len(finite):
                tenth, rest = finite[len(finite) // 10], finite[-1 - len(finite) // 10]
                # Of a rare value the tenths are equal: then the extremes distinguish rows.
                ends = (tenth, rest) if rest > tenth else (finite[0], finite[-1])
                low[feature], span[feature] = ends[0], min(ends[1] - ends[0], 1e300)
        return cls(low=low, span=span)

    def __call__(self, rows: Floats) -> Floats:
        """Scores in [0, 1] of rows `(n, d)`; missing values are in the middle."""
        moving = self.span > 0
        factor = np.divide(1.0, self.span, out=np.zeros_like(self.span), where=moving)
        with np.errstate(over="ignore", invalid="ignore"):
            scores = rows - self.low
            scores *= factor
        np.clip(scores, 0.0, 1.0, out=scores)
        gaps = np.isnan(scores)
        if gaps.any():
            scores[gaps] = 0.5
        return np.asarray(scores, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dependence:
    """Design effects of a reference.

    Attributes:
        effects: Design effect of blocks of each of `SIZES`, ≥ 1, `(5, d)`.
        lasting: Variance that never averages out, in variances of a row, ≥ 0, `(d,)`.
        blocks: Blocks of each size that the reference has `(5,)`.
    """

    effects: Floats
    lasting: Floats
    blocks: NDArray[np.int64]

    @classmethod
    def independent(cls, features: int) -> Dependence:
        """The dependence of independent rows."""
        effects, lasting = np.ones((len(SIZES), features)), np.zeros(features)
        return cls(effects=effects, lasting=lasting, blocks=np.zeros(len(SIZES), dtype=np.int64))

    @classmethod
    def of(cls, scores: Floats) -> Dependence:
        """The dependence of scores `(n, d)`, oldest first."""
        count, features = scores.shape
        spread = np.maximum(scores.var(axis=0), _TINY)
        effects, lasting = np.ones((len(SIZES), features)), np.zeros(features)
        before, seen = np.full(features, np.inf), np.zeros(len(SIZES), dtype=np.int64)
        for place, size in enumerate(SIZES):
            seen[place] = blocks = count // size
            effects[place] = effects[max(place - 1, 0)]
            if blocks < _FEWEST_BLOCKS:
                continue
            variance = _means(scores, size).var(axis=0, ddof=1) / spread
            doubt = math.sqrt(2 / (blocks - 1))
            sure = variance * size > _chance(blocks - 1)
            effects[place] = np.where(sure, variance * size * (1 + doubt), effects[place])
            stays = sure & (variance > _LASTING * before) & (size >= _LONGEST)
            lasting = np.where(stays, np.maximum(lasting, variance * (1 + doubt)), lasting)
            before = variance
        return cls(effects=np.maximum(effects, 1.0), lasting=lasting, blocks=seen)

    def effect(self, rows: int) -> Floats:
        """Design effect of a window of so many rows `(d,)`."""
        place = next((i for i, size in enumerate(SIZES) if size >= rows), len(SIZES) - 1)
        return np.asarray(self.effects[place], dtype=np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        return {"effects": self.effects, "lasting": self.lasting, "blocks": self.blocks}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], features: int) -> Dependence:
        """Rebuild from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        shapes = {
            "effects": (len(SIZES), features),
            "lasting": (features,),
            "blocks": (len(SIZES),),
        }
        if any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise FormatRefused("baseline: the design effects do not fit the features")
        made = cls(**{name: arrays[name] for name in shapes})
        finite = np.isfinite(made.effects).all() and np.isfinite(made.lasting).all()
        if not finite or (made.effects < 1).any() or (made.lasting < 0).any():
            raise FormatRefused("baseline: a design effect is out of range")
        return made


class LiveDependence:
    """Design effects of traffic, which may be more dependent than the reference."""

    def __init__(self, scores: Scores, known: Dependence) -> None:
        self._scores = scores
        self._known = known
        self._pending = [np.empty((0, len(scores.low))) for _ in range(_LIVE + 1)]
        self._newest: list[Floats | None] = [None] * _LIVE
        self._gaps = [np.empty((0, len(scores.low))) for _ in range(_LIVE)]
        self._effect: Floats | None = None
        self._fresh = 0
        self._moments = np.empty((0, 1 + 2 * len(scores.low)))  # rows, sums and sums of squares

    def update(self, rows: Floats) -> None:
        """Add rows `(n, d)`, oldest first."""
        means = self._scores(rows)
        if not len(means):
            return
        self._fresh += len(means)
        moments = np.concatenate(
            [[len(means)], means.sum(axis=0), np.square(means).sum(axis=0)], dtype=np.float64
        )
        self._moments = _newest(self._moments, moments[None])
        for level in range(_LIVE):
            pending = self._pending[level]
            fresh = np.concatenate([pending, means]) if len(pending) else means
            size = SIZES[0] if not level else SIZES[level] // SIZES[level - 1]
            whole = len(fresh) // size * size
            self._pending[level], means = fresh[whole:], _means(fresh[:whole], size)
            before = self._newest[level]
            chain = means if before is None else np.concatenate([before[None], means])
            self._gaps[level] = _newest(self._gaps[level], np.abs(np.diff(chain, axis=0)))
            self._newest[level] = means[-1] if len(means) else before

    def effect(self, rows: int) -> Floats:
        """Design effect of a window of so many rows: of the reference or the traffic `(d,)`."""
        often = len(self._gaps[0]) < _KEPT
        if self._effect is None or self._fresh >= (_OFTEN if often else _SELDOM):
            self._effect, self._fresh = self._measured(), 0
        return np.maximum(self._known.effect(rows), self._effect)

    def _measured(self) -> Floats:
        """Largest design effect of the traffic at any size, 1 while it is not known `(d,)`."""
        found = np.ones(len(self._scores.low))
        totals = self._moments.sum(axis=0)
        if not totals[0]:
            return found
        mean, squares = np.split(totals[1:] / totals[0], 2)
        spread = squares - np.square(mean)
        before = last = found
        for level, gaps in enumerate(self._gaps):
            if len(gaps) >= _FEWEST_DIFFERENCES:
                ratio = SIZES[level] * _trimmed(gaps) / 2 / np.maximum(spread, _TINY)
                effects = np.where(spread > _TINY, ratio, 1.0)
                before, last = last, self._shrunk(effects, len(gaps), level)
            elif level:
                # Longer blocks are not known yet: dependence may grow with them as it did so far.
                before, last = last, last * np.clip(last / before, 1.0, _GROWTH)
            else:
                return np.full(len(found), _UNKNOWN)
            found = np.maximum(found, last)
        return found

    def _shrunk(self, effects: Floats, count: int, level: int) -> Floats:
        """Noisy effects of few blocks, drawn towards those of all features and of the reference."""
        pooled = float(np.median(effects))
        known = self._known.effects[level]
        weight = count + _POOLED + _KNOWN
        mean = (count * effects + _POOLED * pooled + _KNOWN * known) / weight
        error = math.sqrt(_VARIANCE / weight) * mean
        # Within noise the lower bound is taken, so that independent rows stay so; else the upper.
        sure = mean - _ERRORS * error > 1
        return np.asarray(
            np.where(sure, mean + error, np.maximum(mean - error, 1.0)), dtype=np.float64
        )


def _newest(kept: Floats, fresh: Floats) -> Floats:
    """The newest rows of two tables, of which the second is younger."""
    return np.concatenate([kept, fresh])[-_KEPT:]


def _trimmed(gaps: Floats) -> Floats:
    """Mean square of differences `(k, d)` without the largest, as if they were normal `(d,)`."""
    count = len(gaps)
    kept = count - max(1, round(count * _TRIMMED))
    share = kept / count
    edge = NormalDist().inv_cdf((1 + share) / 2)
    usual = (share - 2 * edge * NormalDist().pdf(edge)) / share
    least = np.partition(gaps, kept - 1, axis=0)[:kept]
    return np.asarray(np.square(least).mean(axis=0) / usual, dtype=np.float64)


def _chance(degrees: int) -> float:
    """Largest design effect that independent rows show by chance (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return float((1 - spread + _CERTAIN * math.sqrt(spread)) ** 3)


def _means(values: Floats, size: int) -> Floats:
    """Means of blocks of `size` rows `(n // size, d)`."""
    blocks = len(values) // size
    return np.asarray(values[: blocks * size].reshape(blocks, size, values.shape[1]).mean(axis=1))
