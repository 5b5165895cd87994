"""How good the answers are, once the truth arrives: accuracy with late labels.

predictions by request id ⋈ labels by request id → accuracy of the recent ones → drops and slides
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._bounded_map import BoundedMap
from mlsecops.monitoring.accuracy import Accuracy, AccuracyChange, AccuracyPoint
from mlsecops.monitoring.telemetry.metrics import ACCURACY, ACCURACY_SLIDE
from mlsecops.readings import Reading

__all__ = ["Performance"]

_WINDOW: Final = 200
_FEWEST: Final = 30
_REFERENCE: Final = 200
_CERTAIN: Final = 4.0
_TTL: Final = 30 * 86_400.0


class Performance:
    """Matches labels with predictions and watches their accuracy.

    A drop is read only when it is four standard errors large, so that looking after every label
    raises no false alarm; labels may also arrive before their prediction is aggregated.

    Args:
        reference: Accuracy to compare with, or None: that of the first 200 labels.
        rows: Number of rows behind a given reference.
    """

    def __init__(self, reference: float | None, *, rows: int = 1000) -> None:
        self._predictions: BoundedMap[str, list[NDArray[np.int64]]] = BoundedMap(
            list, capacity=100_000, ttl=_TTL
        )
        self._labels: BoundedMap[str, list[Any]] = BoundedMap(list, capacity=10_000, ttl=_TTL)
        self._hits: deque[bool] = deque(maxlen=_WINDOW)
        self._first: list[bool] = []
        self._course = Accuracy()
        self._given = reference
        self._rows = rows

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last 200 labelled predictions, or None without labels."""
        return sum(self._hits) / len(self._hits) if self._hits else None

    @property
    def points(self) -> tuple[AccuracyPoint, ...]:
        """Accuracy over time, one point for fifty labels."""
        return self._course.points

    @property
    def change(self) -> AccuracyChange | None:
        """The latest change of accuracy, or None."""
        return self._course.change

    @property
    def reference(self) -> float | None:
        """Accuracy to compare with, once it is known."""
        if self._given is not None:
            return self._given
        return sum(self._first) / _REFERENCE if len(self._first) >= _REFERENCE else None

    def predicted(self, request_id: str, classes: NDArray[np.int64], now: float) -> None:
        """Remember an answer until its label arrives."""
        waiting = self._labels.pop(request_id)
        if waiting:
            self._match(classes, waiting[0], now)
        else:
            self._predictions.use(request_id, now)[:] = [classes]

    def labelled(self, request_id: str, label: Any, now: float) -> bool:
        """Compare a label with its prediction.

        Returns:
            Whether the prediction was known; if not, the label is kept for it.
        """
        known = self._predictions.pop(request_id)
        if not known:
            self._labels.use(request_id, now)[:] = [label]
            return False
        self._match(known[0], label, now)
        return True

    def readings(self) -> list[Reading]:
        """The accuracy, if it is certain enough to act upon, and what a slow change has cost."""
        change, slide = self.change, []
        if change is not None and change.kind == "slow":
            window = f"last {change.labels} labelled predictions"
            slide = [Reading(metric=ACCURACY_SLIDE, value=change.lost, window=window)]
        return [*self._recent(), *slide]

    def _recent(self) -> list[Reading]:
        accuracy, reference = self.accuracy, self.reference
        count = len(self._hits)
        if accuracy is None or reference is None or count < _FEWEST:
            return []
        middle = min(max((accuracy + reference) / 2, 0.01), 0.99)
        known = self._rows if self._given is not None else _REFERENCE
        error = math.sqrt(middle * (1 - middle) * (1 / count + 1 / max(known, 1)))
        if accuracy < reference and reference - accuracy < _CERTAIN * error:
            return []
        window = f"last {count} labelled predictions"
        return [Reading(metric=ACCURACY, value=accuracy, window=window, reference=reference)]

    def _match(self, classes: NDArray[np.int64], label: Any, now: float) -> None:
        truth = np.atleast_1d(np.asarray(label))
        if truth.shape != classes.shape:
            raise ValueError(f"label: expected shape {classes.shape}, got {truth.shape}")
        hits = (truth == classes).tolist()
        self._course.update(hits, now)
        for hit in hits:
            self._hits.append(hit)
            if len(self._first) < _REFERENCE:
                self._first.append(hit)
