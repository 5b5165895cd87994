"""How traffic compares with the baseline: confidence, drift, anomalies; the detectors always on.

Observed → Watch.observe → readings, and the metrics behind them
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.monitoring import telemetry
from mlsecops.monitoring.baseline import Baseline
from mlsecops.monitoring.distances import exact_ks
from mlsecops.monitoring.drift import DriftReport
from mlsecops.monitoring.instruments import Series
from mlsecops.monitoring.profile import Profile
from mlsecops.monitoring.readings import Observed, Reading
from mlsecops.monitoring.recent import FEWEST_ROWS, Recent

__all__ = ["Watch"]

Floats = NDArray[np.float64]

_ALPHA: Final = 1e-4
_EFFECT: Final = 0.1
_MOST_FEATURES: Final = 32
_BUCKETS: Final = np.array(telemetry.CONFIDENCE_BOUNDS)
_BUCKET_NAMES: Final = (*(f"{bound:g}" for bound in telemetry.CONFIDENCE_BOUNDS), "+Inf")


class Watch:
    """Rolling comparison with a baseline; without one, only what needs none.

    The rolling test looks many times, so it asks for stronger evidence (alpha 0.0001, distance of
    at least 0.1) than ``Baseline.drift`` asked once.

    Args:
        baseline: Normal, or None.
        series: Where metrics go.
    """

    def __init__(self, baseline: Baseline | None, series: Series) -> None:
        self._baseline = baseline
        self._series = series
        self._recent = Recent(None if baseline is None else baseline.layout)
        self.profile: Profile | None = None if baseline is None else baseline.profile()
        self.drift: DriftReport | None = None
        if baseline is not None and baseline.confidence is not None:
            series.replace(telemetry.CONFIDENCE_BASELINE, {(): baseline.confidence})

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the recent predictions, or None without probabilities."""
        recent = self._recent.confidences
        return float(recent.mean()) if len(recent) else None

    @property
    def anomaly(self) -> float | None:
        """Share of the recent rows that are anomalous, or None without a baseline."""
        rows = self._recent.rows
        return self._recent.flagged / rows if self._baseline is not None and rows else None

    def observe(self, traffic: Observed) -> list[Reading]:
        """Take a batch in and compare the recent window with the baseline."""
        confidence = self._answers(traffic.probabilities)
        profile, flagged = self._inputs(traffic, confidence)
        size = len(traffic.clients)
        complete = self._recent.add(size, profile=profile, flagged=flagged, confidence=confidence)
        return [*self._confidence(), *self._anomalies(), *(self._drift() if complete else ())]

    def _answers(self, probabilities: Floats | None) -> Floats:
        """Count classes and confidences."""
        if probabilities is None or not len(probabilities):
            return np.empty(0)
        confidence = probabilities.max(axis=1)
        for each, count in enumerate(np.bincount(probabilities.argmax(axis=1)).tolist()):
            if count:
                self._series.add(telemetry.CLASSES, count, str(each))
        slots = np.bincount(_BUCKETS.searchsorted(confidence), minlength=len(_BUCKETS) + 1)
        for name, count in zip(_BUCKET_NAMES, slots.cumsum().tolist(), strict=True):
            self._series.add(telemetry.CONFIDENCE_BUCKET, count, name)
        self._series.add(telemetry.CONFIDENCE_COUNT, len(confidence))
        self._series.add(telemetry.CONFIDENCE_SUM, float(confidence.sum()))
        return np.asarray(confidence, dtype=np.float64)

    def _inputs(self, traffic: Observed, confidence: Floats) -> tuple[Profile | None, int]:
        """Count the inputs and those that are anomalous."""
        rows, baseline = traffic.rows, self._baseline
        self._series.add(telemetry.ROWS, len(traffic.clients))
        if baseline is None or self.profile is None or rows.shape[1] != len(baseline.names):
            return None, 0
        profile = baseline.profile().update(rows)
        self.profile.merge(profile)
        flags = baseline.anomalies.flags(rows, confidence if len(confidence) else None)
        for name, marks in flags.items():
            self._series.add(telemetry.ANOMALY, int(marks.sum()), name)
        return profile, int(np.any(list(flags.values()), axis=0).sum())

    def _confidence(self) -> list[Reading]:
        recent = self._recent.confidences
        if not len(recent):
            return []
        value = float(recent.mean())
        self._series.replace(telemetry.CONFIDENCE, {(): value})
        if len(recent) < FEWEST_ROWS:
            return []
        reference = None if self._baseline is None else self._baseline.confidence
        window = f"last {len(recent)} predictions"
        return [
            Reading(metric=telemetry.CONFIDENCE, value=value, window=window, reference=reference)
        ]

    def _anomalies(self) -> list[Reading]:
        rows, value = self._recent.rows, self.anomaly
        if value is None:
            return []
        self._series.replace(telemetry.ANOMALY_RATIO, {(): value})
        if rows < FEWEST_ROWS:
            return []
        return [Reading(metric=telemetry.ANOMALY_RATIO, value=value, window=f"last {rows} rows")]

    def _drift(self) -> list[Reading]:
        profile = self._recent.profile()
        if self._baseline is None or profile is None or not profile.count:
            return []
        self.drift = self._baseline.drift(profile, alpha=_ALPHA, effect=_EFFECT)
        furthest = sorted(self.drift.features.items(), key=lambda item: -item[1].ks)
        points: dict[tuple[str, ...], float] = {}
        for name, each in furthest[:_MOST_FEATURES]:
            points[name, "ks"], points[name, "psi"] = each.ks, each.psi
        if len(self._baseline.confidences):
            recent = np.sort(self._recent.confidences)
            distance = exact_ks(self._baseline.confidences, recent)
            points["prediction.confidence", "ks"] = distance
        count = float(len(self.drift.drifted))
        self._series.replace(telemetry.DRIFT, points)
        self._series.replace(telemetry.DRIFTED_FEATURES, {(): count})
        window = f"last {profile.count} rows"
        return [Reading(metric=telemetry.DRIFTED_FEATURES, value=count, window=window)]
