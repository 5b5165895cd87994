"""Sliding windows of several lengths over a stream of histograms.

batch → SlidingHistogram.add → counts of the newest n rows, in quarters
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.rolling_window import Window

_QUARTERS: Final = 4  # of a window; as `rolling_window`


@dataclass(slots=True, eq=False)
class Tally:
    """Counts of some rows.

    Attributes:
        counts: Rows per bin `(d, bins)`.
        missing: Missing values `(d,)`.
        hours: Weights of the hours of a rhythm `(slots,)`; empty without one.
        rows: Number of rows.
        began: Unix time of the first row in seconds.
        ended: Unix time of the last row in seconds.
    """

    counts: Counts
    missing: Counts
    hours: Floats
    rows: int
    began: float
    ended: float

    def add(self, other: Tally) -> None:
        """Add later rows."""
        self.counts = self.counts + other.counts
        self.missing = self.missing + other.missing
        self.hours = self.hours + other.hours
        self.rows += other.rows
        self.ended = other.ended

    def copy(self) -> Tally:
        """An independent copy."""
        return Tally(self.counts, self.missing, self.hours, self.rows, self.began, self.ended)


class SlidingHistogram:
    """Histogram of the newest rows of a window, which it drops by quarters."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._parts: deque[Tally] = deque()
        self._open = False

    @property
    def total(self) -> Tally | None:
        """The rows of the window, or None before the first."""
        if not self._parts:
            return None
        whole = self._parts[0].copy()
        for part in list(self._parts)[1:]:
            whole.add(part)
        return whole

    def add(self, part: Tally) -> bool:
        """Add a batch; returns whether a quarter of the window is complete."""
        if self._open:
            self._parts[-1].add(part)
        else:
            self._parts.append(part.copy())
        last, window = self._parts[-1], self.window
        self._forget(part.ended)
        full = last.rows * _QUARTERS >= window.rows
        self._open = not (full or (last.ended - last.began) * _QUARTERS >= window.seconds)
        return not self._open

    def _forget(self, now: float) -> None:
        rows = sum(part.rows for part in self._parts)
        while len(self._parts) > 1 and (
            rows - self._parts[0].rows >= self.window.rows
            or now - self._parts[0].ended > self.window.seconds
        ):
            rows -= self._parts.popleft().rows


def no_hours() -> Floats:
    """Hours of a window without a rhythm."""
    return np.empty(0)
