"""Sliding windows of several lengths over a stream of histograms.

batch → SlidingHistogram.add → counts of the newest n rows, which it drops part by part
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.rolling_window import Window


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
    began: float = 0.0
    ended: float = 0.0

    def add(self, other: Tally, sign: int = 1) -> None:
        """Add later rows, or with sign -1 take earlier ones away."""
        join = np.add if sign > 0 else np.subtract
        for own, new in zip(self._arrays, other._arrays, strict=True):
            join(own, new, out=own)
        self.rows += sign * other.rows
        self.ended = max(self.ended, other.ended)

    def copy(self) -> Tally:
        """An independent copy."""
        counts, missing = self.counts.copy(), self.missing.copy()
        return Tally(counts, missing, self.hours.copy(), self.rows, self.began, self.ended)

    @property
    def _arrays(self) -> tuple[Counts, Counts, Floats]:
        return self.counts, self.missing, self.hours


class SlidingHistogram:
    """Histogram of the newest rows of a window.

    Args:
        window: Its length.
        parts: Parts by which it is dropped, so that it may hold one part more.
    """

    def __init__(self, window: Window, parts: int) -> None:
        self.window = window
        self.total: Tally | None = None
        self._count = parts
        self._parts: deque[Tally] = deque()
        self._open = False

    def add(self, part: Tally) -> bool:
        """Add a batch; returns whether a part of the window is complete."""
        if self._open:
            self._parts[-1].add(part)
        else:
            self._parts.append(part.copy())
        if self.total is None:
            self.total = part.copy()
        else:
            self.total.add(part)
        self._forget(part.ended)
        last, window = self._parts[-1], self.window
        full = last.rows * self._count >= window.rows
        self._open = not (full or (last.ended - last.began) * self._count >= window.seconds)
        return not self._open

    def _forget(self, now: float) -> None:
        whole = self.total
        while whole is not None and len(self._parts) > 1:
            first = self._parts[0]
            many = whole.rows - first.rows >= self.window.rows
            if not many and now - first.ended <= self.window.seconds:
                return
            whole.add(self._parts.popleft(), -1)
