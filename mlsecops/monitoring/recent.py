"""What the last few hundred rows were like: a rolling window of slices, without the rows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.monitoring.profile import Layout, Profile

__all__ = ["FEWEST_ROWS", "Recent"]

WINDOW_ROWS: Final = 256
FEWEST_ROWS: Final = 64
_SLICE_ROWS: Final = 64

Floats = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class _Slice:
    """Part of the window; the oldest is forgotten whole."""

    profile: Profile | None
    rows: int = 0
    flagged: int = 0
    confidences: list[Floats] = field(default_factory=list)


class Recent:
    """Rolling window over the last 256 rows or a little more.

    Args:
        layout: Bins of the inputs, or None without a baseline.
    """

    def __init__(self, layout: Layout | None) -> None:
        self._layout = layout
        self._slices: deque[_Slice] = deque([self._slice()])

    @property
    def rows(self) -> int:
        """Rows in the window."""
        return sum(each.rows for each in self._slices)

    @property
    def flagged(self) -> int:
        """Rows in the window that a detector finds anomalous."""
        return sum(each.flagged for each in self._slices)

    @property
    def confidences(self) -> Floats:
        """Confidences in the window, oldest first."""
        parts = [part for each in self._slices for part in each.confidences]
        return np.concatenate(parts) if parts else np.empty(0)

    def profile(self) -> Profile | None:
        """Distribution of the inputs in the window, or None without a baseline."""
        if self._layout is None:
            return None
        merged = Profile(self._layout)
        for each in self._slices:
            if each.profile is not None:
                merged.merge(each.profile)
        return merged

    def add(self, rows: int, *, profile: Profile | None, flagged: int, confidence: Floats) -> bool:
        """Take a batch in.

        Args:
            rows: Its size.
            profile: Distribution of its inputs, if they have the baseline's features.
            flagged: How many rows a detector finds anomalous.
            confidence: Confidences of its predictions; empty if there are none.

        Returns:
            Whether a slice was completed, so that the window is worth comparing anew.
        """
        last = self._slices[-1]
        last.rows += rows
        last.flagged += flagged
        last.confidences.append(confidence)
        if profile is not None and last.profile is not None:
            last.profile.merge(profile)
        if last.rows < _SLICE_ROWS:
            return False
        while self.rows - self._slices[0].rows >= WINDOW_ROWS:
            self._slices.popleft()
        self._slices.append(self._slice())
        return True

    def _slice(self) -> _Slice:
        return _Slice(profile=None if self._layout is None else Profile(self._layout))
