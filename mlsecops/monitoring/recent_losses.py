"""Expected loss of recent answers that are no classes, estimated on a sample of them.

inputs, answers → RecentLosses.add → mean of the newest estimates
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Floats
from mlsecops.drift.rolling_window import Window

_AT_ONCE: Final = 64  # rows; chosen: an estimate costs the same for one row as for so many
_MOST: Final = 10_000  # estimates; chosen: bounds the memory


class RecentLosses:
    """Estimated losses of the newest rows of a window, at most 64 of each batch."""

    def __init__(self, baseline: Baseline | None, window: Window) -> None:
        self._known = None if baseline is None else baseline.expected_loss
        self._losses: deque[float] = deque(maxlen=min(window.rows, _MOST))
        self._pending: list[tuple[Floats, Floats]] = []

    @property
    def mean(self) -> float | None:
        """Mean of the estimates, or None before the first."""
        return float(np.mean(self._losses)) if self._losses else None

    def shared(self) -> tuple[int, float]:
        """Number and sum of the estimates, for another process."""
        return len(self._losses), sum(self._losses)

    def clear(self) -> None:
        """Forget the window."""
        self._losses.clear()
        self._pending.clear()

    def add(self, rows: Floats, answers: Floats) -> bool:
        """Add answers `(n, a)` to rows `(n, d)`; returns whether there is a new estimate."""
        if self._known is None or not rows.shape[1]:
            return False
        step = max(1, len(rows) // _AT_ONCE)
        self._pending.append((rows[::step], answers[::step]))
        if sum(len(each) for each, _ in self._pending) < _AT_ONCE:
            return False
        inputs, outputs = (np.concatenate(each) for each in zip(*self._pending, strict=True))
        self._pending.clear()
        self._losses.extend(self._known.estimate(inputs, outputs).tolist())
        return True
