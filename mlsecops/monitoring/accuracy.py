"""Accuracy over time, and sudden or slow changes of it.

    hits, in the order of their labels → AccuracyTracker → AccuracyPoint, AccuracyChange

A sudden drop hints at tampering (a swapped model, poisoned data after a retraining, an attack), a
slow one at a changing world. ADWIN detects the change; a least-squares fit of a step and of a ramp
classifies it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.drift.change_detection import Adwin
from mlsecops.drift.inputs import Floats

_DELTA: Final = 1e-4  # probability of a false cut; chosen: rare although ADWIN tests often
_POINT: Final = 50  # labels of a point
_POINTS: Final = 400  # points; chosen: a chart has no more pixels for them
_REMEMBERED: Final = 4000  # labels; chosen: a slow change over weeks of few labels fits
_BLOCK: Final = 25  # labels averaged before the fit
_RAMP_BLOCKS: Final = 8  # blocks, 200 labels; chosen: a shorter ramp looks like a step
_UNSETTLED: Final = 1000  # labels for which a change is classified anew; chosen: a ramp shows late


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyPoint:
    """Accuracy of fifty labelled predictions.

    Attributes:
        at: When the last of their labels arrived, Unix time in seconds.
        accuracy: Share of correct answers.
    """

    at: float
    accuracy: float


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """A change of accuracy.

    Attributes:
        kind: `"sudden"`, or `"slow"` over two hundred labels or more.
        before: Accuracy before the change.
        after: Accuracy now.
        labels: Labels since the change began.
        at: When the change was detected, Unix time in seconds.
    """

    kind: Literal["sudden", "slow"]
    before: float
    after: float
    labels: int
    at: float

    @property
    def lost(self) -> float:
        """Lost accuracy; negative if accuracy rose."""
        return self.before - self.after


class AccuracyTracker:
    """Tracks a stream of correct and wrong answers."""

    __slots__ = ("_adwin", "_hits", "_open", "_points", "_unsettled", "change")

    def __init__(self) -> None:
        self._adwin = Adwin(delta=_DELTA)
        self._hits: deque[bool] = deque(maxlen=_REMEMBERED)
        self._points: deque[AccuracyPoint] = deque(maxlen=_POINTS)
        self._open: list[bool] = []
        self._unsettled = 0
        self.change: AccuracyChange | None = None

    @property
    def points(self) -> tuple[AccuracyPoint, ...]:
        """Accuracy over time, oldest first."""
        return tuple(self._points)

    def update(self, hits: Iterable[bool], now: float) -> bool:
        """Add answers in the order of their labels; returns whether accuracy changed."""
        changed = False
        for hit in hits:
            self._hits.append(hit)
            self._open.append(hit)
            if self._adwin.update(float(hit)):
                changed, self._unsettled = True, _UNSETTLED
            if len(self._open) == _POINT:
                share = sum(self._open) / _POINT
                self._points.append(AccuracyPoint(at=now, accuracy=share))
                self._open = []
                self._reclassify(now)
        if changed:
            self.change = describe_change(np.array(self._hits, dtype=np.float64), now)
        return changed

    def _reclassify(self, now: float) -> None:
        """Classify the latest change anew: a ramp shows only as it goes on."""
        if self.change is not None and self._unsettled > 0:
            self._unsettled -= _POINT
            self.change = describe_change(np.array(self._hits, dtype=np.float64), now)


def describe_change(hits: Floats, now: float) -> AccuracyChange:
    """Explain a change in hits `(n,)` (0 or 1), n ≥ 50, by a step or by a ramp that goes on."""
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
    """Square error, level, height and index of the best of the shapes `(s, n)`."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    deviation = blocks - blocks.mean()
    squares = np.square(centred).sum(axis=1)
    heights = centred @ deviation / squares
    errors = np.square(deviation).sum() - np.square(heights) * squares
    best = int(errors.argmin())
    level = blocks.mean() - heights[best] * shapes[best].mean()
    return float(errors[best]), float(level), float(heights[best]), best
