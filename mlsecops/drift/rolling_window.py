"""Rolling window over recent rows, kept as mergeable slices without the rows themselves.

batch → Recent.add → slices → profile, confidence, outliers and answers of the window
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError

FEWEST_ROWS: Final = 64  # rows; chosen: tests of fewer find only gross drift
_MOST_ROWS: Final = 1_000_000  # rows; chosen: bounds the memory of the answers to 24 MB
_SLICES: Final = 4  # of a window; chosen: the window is at most a quarter too long


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Length of a rolling window: the last rows, and of them those of the last seconds.

    The window drops a quarter at a time, so that it may hold a quarter more.

    Attributes:
        rows: Number of rows, 64 to 1,000,000.
        seconds: Age of the oldest row, > 0.

    Raises:
        UsageError: A number is out of range.

    Examples:
        >>> Window(rows=1000, seconds=3600.0).rows
        1000
    """

    rows: int = 256
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if not FEWEST_ROWS <= self.rows <= _MOST_ROWS or not self.seconds > 0:
            raise UsageError(
                f"window: expected {FEWEST_ROWS} to {_MOST_ROWS} rows and more than 0 seconds, "
                f"got {self.rows} and {self.seconds}"
            )


@dataclass(slots=True, eq=False)
class _Slice:
    profile: Profile | None
    rows: int = 0
    flagged: int = 0
    answers: list[Floats] = field(default_factory=list)
    sums: Floats = field(default_factory=lambda: np.zeros(4))
    began: float | None = None
    ended: float = 0.0


class Recent:
    """Rolling window over recent rows, with the bins of a baseline or None."""

    def __init__(self, layout: Layout | None, window: Window) -> None:
        self._layout = layout
        self._window = window
        self._slices: deque[_Slice] = deque([self._slice()])

    @property
    def rows(self) -> int:
        """Rows in the window."""
        return sum(each.rows for each in self._slices)

    @property
    def flagged(self) -> int:
        """Anomalous rows in the window."""
        return sum(each.flagged for each in self._slices)

    @property
    def answers(self) -> Floats:
        """Confidence and predicted class in the window `(n, 2)`, oldest first."""
        parts = [part for each in self._slices for part in each.answers]
        return np.concatenate(parts)[:, :2] if parts else np.empty((0, 2))

    @property
    def answered(self) -> int:
        """Answers with probabilities in the window."""
        return int(sum(each.sums[0] for each in self._slices))

    @property
    def confidence(self) -> float | None:
        """Mean confidence in the window, or None without probabilities."""
        return self._mean(0, 1)

    @property
    def right(self) -> float | None:
        """Mean probability of a correct answer in the window, or None if unknown."""
        return self._mean(2, 3)

    def _mean(self, count: int, total: int) -> float | None:
        rows = sum(each.sums[count] for each in self._slices)
        return float(sum(each.sums[total] for each in self._slices) / rows) if rows else None

    def profile(self) -> Profile | None:
        """Distribution of the inputs in the window, or None without a baseline."""
        if self._layout is None:
            return None
        merged = Profile(self._layout)
        for each in self._slices:
            if each.profile is not None:
                merged.merge(each.profile)
        return merged

    def add(
        self, rows: int, *, now: float, profile: Profile | None, flagged: int, answers: Floats
    ) -> bool:
        """Add a batch; returns whether a slice is complete, so that a comparison is worthwhile.

        `now` is the time of the newest row in seconds, `flagged` the number of anomalous rows, and
        `answers` are confidence, predicted class and probability of being correct `(m, 3)`.
        """
        last = self._slices[-1]
        last.began = now if last.began is None else last.began
        last.ended = now
        last.rows += rows
        last.flagged += flagged
        if len(answers):
            last.answers.append(answers)
            known = answers[~np.isnan(answers[:, 2]), 2]
            last.sums += (len(answers), answers[:, 0].sum(), len(known), known.sum())
        if profile is not None and last.profile is not None:
            last.profile.merge(profile)
        self._forget(now)
        window = self._window
        if last.rows * _SLICES < window.rows and (now - last.began) * _SLICES < window.seconds:
            return False
        self._slices.append(self._slice())
        return True

    def _forget(self, now: float) -> None:
        rows = self.rows
        while len(self._slices) > 1 and (
            rows - self._slices[0].rows >= self._window.rows
            or now - self._slices[0].ended > self._window.seconds
        ):
            rows -= self._slices.popleft().rows

    def _slice(self) -> _Slice:
        return _Slice(profile=None if self._layout is None else Profile(self._layout))
