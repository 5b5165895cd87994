"""Change detection in a stream of numbers, one value at a time.

    values, oldest first → update → whether the stream has changed

- `Cusum` knows the normal mean, and finds a lasting shift of a given size fastest (Page 1954);
- `PageHinkley` learns the mean from the stream (Page 1954, Hinkley 1971);
- `Adwin` keeps a window, and cuts it where its two parts differ (Bifet and Gavaldà 2007).

Each detector starts anew after a change.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError

_BUCKETS: Final = 5  # buckets of a size; as River's ADWIN
_EVERY: Final = 32  # values between two tests; as River's ADWIN
_SHORTEST: Final = 5  # values on each side of a cut; as River's ADWIN


class ChangeDetector(Protocol):
    """A detector of changes in a stream."""

    def update(self, values: ArrayLike) -> bool:
        """Add values, oldest first; returns whether the stream changed."""


@concise_repr("_mean", "_spread", "_threshold", "_allowance")
@checked
class Cusum:
    """Two-sided cumulative sums of standardised values.

    Args:
        mean: Normal mean.
        spread: Normal standard deviation, > 0.
        allowance: Half of the shift to find, in standard deviations, ≥ 0.
        threshold: Sum that shows a change, in standard deviations, > 0.

    Raises:
        UsageError: A number is out of range.

    Examples:
        >>> Cusum(mean=0.0, spread=1.0).update([3.0] * 10)
        True
    """

    __slots__ = ("_above", "_allowance", "_below", "_mean", "_spread", "_threshold")

    def __init__(
        self, mean: float, spread: float, *, allowance: float = 0.5, threshold: float = 20.0
    ) -> None:
        if not (spread > 0 and threshold > 0 and allowance >= 0):
            raise UsageError(
                "Cusum: expected spread and threshold above 0 and allowance of at least 0, got "
                f"{spread}, {threshold}, {allowance}"
            )
        self._mean, self._spread = mean, spread
        self._allowance, self._threshold = allowance, threshold
        self._above = self._below = 0.0

    @property
    def evidence(self) -> float:
        """The larger sum, as a share of the threshold."""
        return max(self._above, self._below) / self._threshold

    def update(self, values: ArrayLike) -> bool:
        """Add values, oldest first; returns whether the stream changed, which resets the sums."""
        standard = (np.atleast_1d(np.asarray(values, dtype=np.float64)) - self._mean) / self._spread
        above = _sums(standard - self._allowance, self._above)
        below = _sums(-standard - self._allowance, self._below)
        changed = max(above.max(initial=0.0), below.max(initial=0.0)) > self._threshold
        if len(standard):
            self._above, self._below = float(above[-1]), float(below[-1])
        if changed:
            self._above = self._below = 0.0
        return bool(changed)


@concise_repr("_tolerance", "_threshold")
@checked
class PageHinkley:
    """Cumulative deviation from the running mean, to both sides.

    Args:
        tolerance: Deviation of a value that is ignored, in units of the stream, ≥ 0.
        threshold: Sum that shows a change, in units of the stream, > 0.
        fewest: Values to learn the mean from before the first verdict, ≥ 1.

    Raises:
        UsageError: A number is out of range.

    Examples:
        >>> PageHinkley(threshold=5.0).update([0.0] * 50 + [1.0] * 20)
        True
    """

    __slots__ = ("_count", "_down", "_fewest", "_mean", "_threshold", "_tolerance", "_up")

    def __init__(
        self, *, tolerance: float = 0.005, threshold: float = 50.0, fewest: int = 30
    ) -> None:
        if not (threshold > 0 and tolerance >= 0 and fewest >= 1):
            raise UsageError(
                "PageHinkley: expected threshold > 0, tolerance >= 0 and fewest >= 1, got "
                f"{threshold}, {tolerance}, {fewest}"
            )
        self._tolerance, self._threshold, self._fewest = tolerance, threshold, fewest
        self._restart()

    def _restart(self) -> None:
        self._count = 0
        self._mean = self._up = self._down = 0.0

    def update(self, values: ArrayLike) -> bool:
        """Add values, oldest first; returns whether the stream changed, which resets the mean."""
        changed = False
        for value in np.atleast_1d(np.asarray(values, dtype=np.float64)).tolist():
            self._count += 1
            self._mean += (value - self._mean) / self._count
            self._up = max(0.0, self._up + value - self._mean - self._tolerance)
            self._down = max(0.0, self._down + self._mean - value - self._tolerance)
            if self._count >= self._fewest and max(self._up, self._down) > self._threshold:
                changed = True
                self._restart()
        return changed


@concise_repr("count", "mean", "_delta")
@checked
class Adwin:
    """Adaptive window: it grows while the stream is stationary, and drops values before a change.

    Args:
        delta: Probability of a false cut at one test, in (0, 1).

    Raises:
        UsageError: delta is out of range.

    Examples:
        >>> Adwin().update([0.0] * 200 + [1.0] * 200)
        True
    """

    __slots__ = ("_delta", "_levels", "_seen", "_totals")

    def __init__(self, *, delta: float = 0.002) -> None:
        if not 0 < delta < 1:
            raise UsageError(f"delta: expected a probability between 0 and 1, got {delta}")
        self._delta = delta
        self._levels: list[list[Floats]] = [[]]
        self._totals = np.zeros(3)
        self._seen = 0

    @property
    def count(self) -> int:
        """Values in the window."""
        return int(self._totals[0])

    @property
    def mean(self) -> float:
        """Mean of the window; 0 while it is empty."""
        return float(self._totals[1] / max(self._totals[0], 1.0))

    def update(self, values: ArrayLike) -> bool:
        """Add values, oldest first; returns whether the window was cut at a change."""
        changed = False
        for value in np.atleast_1d(np.asarray(values, dtype=np.float64)).tolist():
            self._insert(np.array([1.0, value, value * value]))
            self._seen += 1
            if self._seen % _EVERY == 0:
                changed |= self._shrink()
        return changed

    def _insert(self, bucket: Floats) -> None:
        """Add a value; two old buckets of a size become one of twice the size."""
        self._totals += bucket
        self._levels[0].append(bucket)
        for place, level in enumerate(self._levels):
            if len(level) <= _BUCKETS:
                return
            if place + 1 == len(self._levels):
                self._levels.append([])
            self._levels[place + 1].append(level.pop(0) + level.pop(0))

    def _shrink(self) -> bool:
        changed = False
        while self._differs():
            oldest = next(level for level in reversed(self._levels) if level)
            self._totals -= oldest.pop(0)
            changed = True
        return changed

    def _differs(self) -> bool:
        buckets = np.array([bucket for level in reversed(self._levels) for bucket in level])
        old = buckets.cumsum(axis=0)[:-1]
        new = self._totals - old
        count, total, squares = self._totals
        cuts = (old[:, 0] >= _SHORTEST) & (new[:, 0] >= _SHORTEST)
        if not cuts.any():
            return False
        old, new = old[cuts], new[cuts]
        gap = np.abs(old[:, 1] / old[:, 0] - new[:, 1] / new[:, 0])
        harmonic = 1 / (1 / old[:, 0] + 1 / new[:, 0])
        variance = max(squares / count - (total / count) ** 2, 0.0)
        surprise = math.log(2 * math.log(count) / self._delta)
        margin = np.sqrt(2 / harmonic * variance * surprise) + 2 / (3 * harmonic) * surprise
        return bool((gap > margin).any())


def _sums(steps: Floats, start: float) -> Floats:
    """Cumulative sums that never fall below 0."""
    path = start + steps.cumsum()
    return np.asarray(path - np.minimum(np.minimum.accumulate(path), 0.0), dtype=np.float64)
