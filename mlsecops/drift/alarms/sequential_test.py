"""Sequential drift test: windows of three lengths, at a declared rate of false alarms.

    rows, times → SequentialTest.add → DriftReport when a quarter of the window is complete

A short window finds a large change quickly, and windows of 4 and 16 times its length find small
ones. A long window's verdict stands only while the short one supports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.alarms.alarm_rate import AN_HOUR, USUAL_ROWS, AlarmRate
from mlsecops.drift.alarms.dependence import Dependence, LiveDependence, Scores
from mlsecops.drift.alarms.evidence import Known, WindowEvidence, weigh
from mlsecops.drift.alarms.rhythm import Rhythm
from mlsecops.drift.alarms.sliding_windows import SlidingHistogram, Tally
from mlsecops.drift.histograms import Profile
from mlsecops.drift.inputs import Bools, Counts, Floats
from mlsecops.drift.reference import Reference
from mlsecops.drift.rolling_window import FEWEST_ROWS, Window
from mlsecops.drift.tests import DriftReport

LENGTHS: Final = (
    1,
    4,
    16,
)  # lengths of the windows, in windows; chosen: see benchmarks.drift_alarms
EFFECT: Final = 0.05  # distance; chosen: as `Baseline.drift`, smaller drift rarely costs accuracy
_SUPPORT: Final = 0.5  # of a long window's distance that the short one must show; chosen
OVERLAPS: Final = (1.0, 3.0, 8.0)
"""Independent looks that the looks during a quarter of each window are worth: a long window is
looked at with every quarter of the shortest, and exceedances 5 deviations out follow each other."""
QUARTERS: Final = 4  # looks a window
_HINT: Final = 0.2  # p-value of the short window; chosen: drift that ended shows none
_NORMAL: Final = 0.05  # p-value over all features from which rows look normal again; as usual
_HELD: Final = 2  # looks; chosen: half of a window must look normal before an alarm ends
_MOST_LIVE: Final = 1024  # rows of a batch; chosen: enough to measure dependence, at little cost
_FINE_PARTS: Final = 16  # parts of a long window; chosen: it holds at most 6 % more
_WIDE: Final = 2**17  # bin edges of all windows; chosen: more features get windows of four parts
_NOTHING: Final = np.empty(0, dtype=np.int64)  # counts of a window whose hours alone are read
_MOST_ROWS: Final = 1_000_000  # rows of the longest window, as `Window`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """What the order of a reference's rows tells.

    Attributes:
        dependence: Design effects of its windows.
        rhythm: Distributions by hour; None without times or without a rhythm.
        rows_per_second: Rate of its rows; None without times.
    """

    dependence: Dependence
    rhythm: Rhythm | None = None
    rows_per_second: float | None = None

    @classmethod
    def of(cls, rows: Floats, reference: Reference, seconds: Floats | None) -> Order:
        """The order of rows `(n, d)`, oldest first, at Unix times `(n,)` or None."""
        scores = Scores.of(reference.sample)(rows)
        rhythm, rate = None, None
        if seconds is not None and len(seconds):
            rhythm = Rhythm.fit(rows, scores, seconds, reference.layout)
            span = float(np.ptp(seconds))
            rate = len(rows) / span if span > 0 else None
        left = scores if rhythm is None or seconds is None else rhythm.without(scores, seconds)
        return cls(dependence=Dependence.of(left), rhythm=rhythm, rows_per_second=rate)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to write to a file."""
        found: dict[str, NDArray[Any]] = dict(self.dependence.arrays())
        found["rate"] = np.array([self.rows_per_second or 0.0])
        if self.rhythm is not None:
            found |= {f"rhythm.{name}": each for name, each in self.rhythm.arrays().items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], reference: Reference) -> Order:
        """Rebuild from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        rate = float(arrays["rate"][0])
        hours = {k.removeprefix("rhythm."): v for k, v in arrays.items() if k.startswith("rhythm.")}
        return cls(
            dependence=Dependence.from_arrays(arrays, len(reference.names)),
            rhythm=Rhythm.from_arrays(hours, reference.layout) if hours else None,
            rows_per_second=rate if 0 < rate < 1e12 else None,  # noqa: PLR2004 - any finite rate
        )


def look_risk(rate: AlarmRate, rows_per_second: float, rows: int, shortest: int) -> float:
    """Probability of a false alarm that a look at a window of so many rows may have."""
    place = min(range(len(LENGTHS)), key=lambda i: abs(LENGTHS[i] * shortest - rows))
    risk = rate.risk(rows_per_second, max(rows // QUARTERS, 1))
    return risk / (OVERLAPS[place] * len(LENGTHS))


class SequentialTest:
    """Drift of a stream from a reference, tested again and again."""

    def __init__(
        self, reference: Reference, order: Order, *, rate: AlarmRate, window: Window
    ) -> None:
        self._reference = reference
        self._order = order
        self._rate = rate
        self._size = window.rows
        self._live = LiveDependence(Scores.of(reference.sample), order.dependence)
        self._newest = SlidingHistogram(window, QUARTERS)  # only its hours are read
        sizes = sorted({min(window.rows * each, _MOST_ROWS) for each in LENGTHS[1:]})
        narrow = reference.layout.edges.size * len(LENGTHS) < _WIDE
        self._windows = [
            SlidingHistogram(
                Window(rows=size, seconds=window.seconds), _FINE_PARTS if narrow else QUARTERS
            )
            for size in sizes
        ]
        self._known = self._side(None)
        self._began: float | None = None
        self._rows = 0
        self._speed = USUAL_ROWS

    def add(self, rows: Floats, seconds: Floats) -> tuple[Profile, Profile]:
        """Add rows `(n, d)` at Unix times `(n,)`, oldest first.

        Returns:
            The profile of all rows, and that of the newest window among them.
        """
        whole = newest = Profile(self._reference.layout)
        self._live.update(rows[-_MOST_LIVE:])
        for part in self._parts(len(rows)):
            newest = Profile(self._reference.layout).update(rows[part])
            self._add(newest, seconds[part])
            whole = whole.copy().add(newest) if whole.count else newest
        return whole, newest

    def _parts(self, rows: int) -> Iterator[slice]:
        """A batch in parts, oldest first: the newest window, three more, and what came before."""
        cuts = {0, max(0, rows - 4 * self._size), max(0, rows - self._size), rows}
        yield from (slice(start, end) for start, end in pairwise(sorted(cuts)))

    def _add(self, tallied: Profile, seconds: Floats) -> None:
        began, ended = float(seconds[0]), float(seconds[-1])
        self._began = began if self._began is None else self._began
        self._rows += tallied.count
        if ended - self._began >= AN_HOUR:
            self._speed = self._rows / (ended - self._began)
        rhythm = self._order.rhythm
        hours = np.empty(0) if rhythm is None else rhythm.weights(seconds)
        facts = (hours, tallied.count, began, ended)
        self._newest.add(Tally(_NOTHING, _NOTHING, *facts))
        for each in self._windows:
            each.add(Tally(tallied.counts, tallied.missing, *facts))

    def noise(self, rows: int) -> Floats:
        """Variance of a mean of so many rows, in variances of a row `(d,)`."""
        known = np.maximum(self._reference.sides.present, 1)
        dependence = self._order.dependence
        return np.asarray(
            dependence.effects[-1] / known + self._live.effect(rows) / rows + dependence.lasting
        )

    def typical_effect(self, rows: int) -> float:
        """Median over the features of the design effect of so many rows."""
        return float(np.median(self._live.effect(rows)))

    @property
    def risk(self) -> float:
        """Probability of a false alarm that one look at the shortest window may have."""
        return self._risk(self._size)

    def _risk(self, rows: int) -> float:
        return look_risk(self._rate, self._speed, rows, self._size)

    def compare(self, newest: Profile, held: Counts) -> tuple[DriftReport, Counts]:
        """Compare the newest rows, and the longer windows, with the reference.

        A feature that drifted in a longer window counts if the newest rows support it. Once
        drifted, it stays so until the newest rows look normal twice: `held` are the looks that are
        left of it `(d,)`, 0 at first; the next ones are returned.
        """
        hours = np.empty(0) if self._newest.total is None else self._newest.total.hours
        short = self._evidence(Tally(newest.counts, newest.missing, hours, newest.count))
        drifted = np.zeros(len(self._reference.names), dtype=bool)
        if newest.count >= FEWEST_ROWS:
            drifted |= self._alarmed(short, self._size, short)
            hinted = np.flatnonzero(short.p_value <= _HINT)
            for each in self._windows:
                total = each.total
                if total is not None and total.rows > newest.count and len(hinted):
                    found = self._evidence(total, hinted)
                    drifted[hinted] |= self._alarmed(found, each.window.rows, short.take(hinted))
        still = (held > 0) & (short.p_value <= _NORMAL / len(drifted))
        left = np.where(drifted | still, _HELD, np.maximum(held - 1, 0))
        report = self._reference.drift(
            newest, alpha=self.risk, effect=EFFECT, verdict=(left > 0, short.p_value)
        )
        return report, left

    def no_alarm(self) -> Counts:
        """`held` before the first comparison."""
        return np.zeros(len(self._reference.names), dtype=np.int64)

    def _alarmed(self, found: WindowEvidence, rows: int, short: WindowEvidence) -> Bools:
        certain = found.p_value <= self._risk(rows) / len(self._reference.names)
        matters = found.distance >= EFFECT
        supported = short.distance >= _SUPPORT * found.distance
        return np.asarray(certain & matters & supported, dtype=bool)

    def _evidence(self, total: Tally, features: Counts | None = None) -> WindowEvidence:
        """Evidence of a window, in all features or in some."""
        known = self._known
        if self._order.rhythm is not None and total.hours.any():
            known = self._side(total.hours)
        chosen = slice(None) if features is None else features
        return weigh(
            known if features is None else known.take(features),
            total.counts[chosen].astype(np.float64),
            total.missing[chosen].astype(np.float64),
            effect=self._live.effect(total.rows)[chosen],
            categorical=self._reference.categorical[chosen],
        )

    def _side(self, hours: Floats | None) -> Known:
        """The reference, of its rows at hours with such weights where a feature follows them."""
        reference, rhythm = self._reference.sides, self._order.rhythm
        counts = reference.counts.astype(np.float64)
        if rhythm is not None and hours is not None:
            counts[rhythm.features] = rhythm.expected(hours)
        dependence = self._order.dependence
        return Known.of(
            counts,
            reference.missing.astype(np.float64),
            effect=dependence.effects[-1],
            lasting=dependence.lasting,
        )
