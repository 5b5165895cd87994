"""Label matching: late labels joined with predictions by request id, for the accuracy.

predictions ⋈ labels → accuracy of the recent ones → drops and slow changes
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._bounded.mapping import BoundedMap
from mlsecops.drift.alarms.alarm_rate import AN_HOUR, USUAL_ROWS, WEEKLY, AlarmRate
from mlsecops.drift.alarms.dependence import SIZES, Dependence, LiveDependence, Scores
from mlsecops.monitoring.accuracy import AccuracyTracker
from mlsecops.monitoring.accuracy_limit import LOOKS, lowest_by_chance
from mlsecops.monitoring.telemetry.metrics import ACCURACY, ACCURACY_SLIDE
from mlsecops.readings import Reading

_WINDOW: Final = 200  # labels in the recent accuracy; its standard error is at most 3.5 %
_FEWEST: Final = 30  # labels before the first reading; chosen: a person believes no fewer
_REFERENCE: Final = 200  # first labels that are the reference where none is given; as _WINDOW
_KNOWN: Final = 192  # labels; chosen: `dependence` knows nothing of fewer than 160
_TTL: Final = 30 * 86_400.0  # seconds; chosen: labels arrive within a month


class LabelMatcher:
    """Matches labels with predictions, and tracks the accuracy.

    A label may arrive before its prediction is aggregated. The reference is an accuracy on `rows`
    rows, or None for that of the first 200 labels. A drop is significant at the declared `rate` of
    false alarms.
    """

    def __init__(
        self, reference: float | None, *, rows: int = 1000, rate: AlarmRate = WEEKLY
    ) -> None:
        self._predictions: BoundedMap[str, list[NDArray[np.int64]]] = BoundedMap(
            list, capacity=100_000, ttl=_TTL
        )
        self._labels: BoundedMap[str, list[Any]] = BoundedMap(list, capacity=10_000, ttl=_TTL)
        self._hits: deque[bool] = deque(maxlen=_WINDOW)
        self._first: list[bool] = []
        self.course = AccuracyTracker()
        self._given = reference
        self._rows = rows
        self._rate = rate
        self._began: float | None = None
        self._newest = 0.0
        self._labelled = 0
        self._dependence = LiveDependence(
            Scores(low=np.zeros(1), span=np.ones(1)), Dependence.independent(1)
        )
        self._block: list[bool] = []

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the last 200 labelled predictions, or None without labels."""
        return sum(self._hits) / len(self._hits) if self._hits else None

    @property
    def slow_loss(self) -> float | None:
        """Accuracy lost in the latest change, if that was slow."""
        change = self.course.change
        return change.lost if change is not None and change.kind == "slow" else None

    @property
    def reference(self) -> float | None:
        """Accuracy to compare with, once it is known."""
        if self._given is not None:
            return self._given
        return sum(self._first) / _REFERENCE if len(self._first) >= _REFERENCE else None

    @property
    def limit(self) -> float | None:
        """Accuracy that chance explains at the declared rate: only less is a drop."""
        reference, count = self.reference, len(self._hits)
        if reference is None or count < _FEWEST:
            return None
        rows = max(self._rows if self._given is not None else _REFERENCE, 1)
        risk = self._rate.risk(self._speed, max(count // LOOKS, 1))
        return lowest_by_chance(
            hits=round(reference * rows),
            rows=rows,
            labels=max(round(count / self._effect(count)), 1),
            risk=float(f"{risk:.1e}"),  # rounded, so that it is computed once
        )

    def _effect(self, count: int) -> float:
        """Labels that count as one, because right answers come in runs; 1 until that is known."""
        known = self._labelled >= _KNOWN
        return float(self._dependence.effect(count)[0]) if known else 1.0

    @property
    def _speed(self) -> float:
        """Labels a second; as usual until an hour of them was seen."""
        span = 0.0 if self._began is None else self._newest - self._began
        return self._labelled / span if span >= AN_HOUR else USUAL_ROWS

    @property
    def waiting(self) -> bool:
        """Whether any prediction waits for its label."""
        return len(self._predictions) > 0

    def shared(self) -> dict[str, Any]:
        """The recent labels as plain numbers, for another process."""
        return {
            "hits": sum(self._hits),
            "labels": len(self._hits),
            "reference": self.reference,
            "limit": self.limit,
            "slide": self.slow_loss,
        }

    def predicted(self, request_id: str, classes: NDArray[np.int64], now: float) -> None:
        """Store a prediction until its label arrives."""
        waiting = self._labels.pop(request_id)
        if waiting:
            self._match(classes, waiting[0], now)
        else:
            self._predictions.use(request_id, now)[:] = [classes]

    def knows(self, request_id: str) -> bool:
        """Whether a prediction waits for its label."""
        return self._predictions.get(request_id) is not None

    def labelled(self, request_id: str, label: Any, now: float) -> bool:
        """Compare a label with its prediction, or store it; returns whether there was one."""
        known = self._predictions.pop(request_id)
        if not known:
            self._labels.use(request_id, now)[:] = [label]
            return False
        self._match(known[0], label, now)
        return True

    def readings(self) -> list[Reading]:
        """Recent accuracy, and the loss of a slow change."""
        change, loss = self.course.change, self.slow_loss
        if change is None or loss is None:
            return self._recent()
        window = f"last {change.labels} labelled predictions"
        return [*self._recent(), Reading(metric=ACCURACY_SLIDE, value=loss, window=window)]

    def _recent(self) -> list[Reading]:
        accuracy, reference, limit = self.accuracy, self.reference, self.limit
        if accuracy is None or reference is None or limit is None:
            return []
        window = f"last {len(self._hits)} labelled predictions"
        return [
            Reading(
                metric=ACCURACY, value=accuracy, window=window, reference=reference, chance=limit
            )
        ]

    def _match(self, classes: NDArray[np.int64], label: Any, now: float) -> None:
        truth = np.atleast_1d(np.asarray(label))
        if truth.shape != classes.shape:
            raise ValueError(f"label: expected shape {classes.shape}, got {truth.shape}")
        hits = (truth == classes).tolist()
        self.course.update(hits, now)
        self._began = now if self._began is None else self._began
        self._newest = now
        self._labelled += len(hits)
        self._block += hits
        if len(self._block) >= SIZES[0]:
            self._dependence.update(np.array(self._block, dtype=np.float64)[:, None])
            self._block = []
        for hit in hits:
            self._hits.append(hit)
            if len(self._first) < _REFERENCE:
                self._first.append(hit)
