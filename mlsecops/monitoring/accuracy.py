"""How accuracy went over time, and how it was lost: at a stroke or bit by bit.

hits, in the order in which their labels arrived → Accuracy → points over time, AccuracyChange

A sudden drop hints at tampering (a swapped model, poisoned data after a retraining, an attack); a
slow one at a world that changes. Adwin says that there was a change; whether a step or a ramp
explains it better (least squares) says which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.change_detection import Adwin

__all__ = ["Accuracy", "AccuracyChange", "AccuracyPoint", "describe"]

Floats = NDArray[np.float64]

_DELTA: Final = 1e-4
_POINT: Final = 50
_POINTS: Final = 400
_REMEMBERED: Final = 4000
_BLOCK: Final = 25
_RAMP_BLOCKS: Final = 8
_DOUBTFUL: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyPoint:
    """Accuracy of fifty labelled predictions.

    Attributes:
        at: When the last of their labels arrived, Unix time in seconds.
        accuracy: Share of right answers.
    """

    at: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """How accuracy changed.

    Attributes:
        kind: `"sudden"`, or `"slow"` over two hundred labels or more.
        before: Accuracy before it began.
        after: Accuracy now.
        labels: Labels that arrived since it began.
        at: When this was said, Unix time in seconds.
    """

    kind: Literal["sudden", "slow"]
    before: float
    after: float
    labels: int
    at: float

    @property
    def lost(self) -> float:
        """Accuracy that was lost; below 0 if some was gained."""
        return self.before - self.after


class Accuracy:
    """Watches a stream of right and wrong answers."""

    __slots__ = ("_adwin", "_doubtful", "_hits", "_open", "_points", "change")

    def __init__(self) -> None:
        self._adwin = Adwin(delta=_DELTA)
        self._hits: deque[bool] = deque(maxlen=_REMEMBERED)
        self._points: deque[AccuracyPoint] = deque(maxlen=_POINTS)
        self._open: list[bool] = []
        self._doubtful = 0
        self.change: AccuracyChange | None = None

    @property
    def points(self) -> tuple[AccuracyPoint, ...]:
        """Accuracy over time, oldest first."""
        return tuple(self._points)

    def update(self, hits: Iterable[bool], now: float) -> bool:
        """Take answers in.

        Args:
            hits: Whether each was right, in the order in which their labels arrived.
            now: Unix time in seconds.

        Returns:
            Whether accuracy has changed; then `change` says how.
        """
        changed = False
        for hit in hits:
            self._hits.append(hit)
            self._open.append(hit)
            if self._adwin.update(float(hit)):
                changed, self._doubtful = True, _DOUBTFUL
            if len(self._open) == _POINT:
                share = sum(self._open) / _POINT
                self._points.append(AccuracyPoint(at=now, accuracy=share))
                self._open = []
                self._look_again(now)
        if changed:
            self.change = describe(np.array(self._hits, dtype=np.float64), now)
        return changed

    def _look_again(self, now: float) -> None:
        """Explain the latest change anew: a ramp shows itself only as it goes on."""
        if self.change is not None and self._doubtful > 0:
            self._doubtful -= _POINT
            self.change = describe(np.array(self._hits, dtype=np.float64), now)


def describe(hits: Floats, now: float) -> AccuracyChange:
    """Explain a change by a step or by a ramp that still goes on.

    Args:
        hits: `(n,)` right (1) and wrong (0) answers, oldest first, n ≥ 50.
        now: Unix time in seconds.
    """
    count = len(hits) // _BLOCK
    blocks = hits[len(hits) - count * _BLOCK :].reshape(count, _BLOCK).mean(axis=1)
    places = np.arange(count)
    steps = (places >= places[1:, None]).astype(np.float64)
    error, level, height, start = _fit(blocks, steps)
    kind: Literal["sudden", "slow"] = "sudden"
    begun = start + 1
    if count > _RAMP_BLOCKS:
        starts = places[: count - _RAMP_BLOCKS, None]
        ramps = np.maximum(places - starts, 0.0) / (count - 1 - starts)
        ramp = _fit(blocks, ramps)
        if ramp[0] < error:
            kind, (_, level, height, begun) = "slow", ramp
    before, after = np.clip([level, level + height], 0.0, 1.0).tolist()
    labels = (count - begun) * _BLOCK
    return AccuracyChange(kind=kind, before=before, after=after, labels=labels, at=now)


def _fit(blocks: Floats, shapes: Floats) -> tuple[float, float, float, int]:
    """Square error, level, height and place of the shape `(s, n)` that explains blocks best."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    deviation = blocks - blocks.mean()
    squares = np.square(centred).sum(axis=1)
    heights = centred @ deviation / squares
    errors = np.square(deviation).sum() - np.square(heights) * squares
    best = int(errors.argmin())
    level = blocks.mean() - heights[best] * shapes[best].mean()
    return float(errors[best]), float(level), float(heights[best]), best
