"""Baseline detector: confidence, drift and outliers of recent traffic; always on.

Observed → BaselineDetector.observe → readings, and the metrics behind them
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.change_detection import Cusum
from mlsecops.drift.histograms import Profile
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.drift.rolling_window import FEWEST_ROWS, Recent, Window
from mlsecops.drift.tests import DriftReport
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import Observed, Reading

_ALPHA: Final = 1e-4  # family-wise error rate; chosen: rare although every window is tested
_EFFECT: Final = 0.1  # KS distance; chosen: smaller drift rarely costs accuracy
_MOST_FEATURES: Final = 32  # exported features; chosen: bounds the number of time series
_RANK_SPREAD: Final = 12**-0.5  # standard deviation of a uniform distribution on [0, 1]
_EVIDENCE: Final = 25.0  # standard deviations; chosen: a false alarm in about 1e10 rows


class BaselineDetector:
    """Rolling comparison with a baseline; without one, only the confidence.

    Each window is tested, so the evidence must be stronger (alpha 0.0001, distance of at least 0.1)
    than for one call of `Baseline.drift`.
    """

    def __init__(
        self, baseline: Baseline | None, series: Series, *, window: Window | None = None
    ) -> None:
        self._baseline = baseline
        self._series = series
        self._window = window = window or Window()
        self._size = window.rows
        self._recent = Recent(None if baseline is None else baseline.layout, window)
        self._cusum = Cusum(0.5, _RANK_SPREAD, threshold=_EVIDENCE)
        self.profile: Profile | None = None if baseline is None else baseline.profile()
        self.drift: DriftReport | None = None
        if baseline is not None and baseline.confidence is not None:
            series.replace(telemetry.CONFIDENCE_BASELINE, {(): baseline.confidence})

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the recent predictions, or None without probabilities."""
        return self._recent.confidence

    @property
    def expected_accuracy(self) -> float | None:
        """Estimated accuracy of the recent predictions, or None if not calibrated."""
        return self._recent.right

    @property
    def anomaly(self) -> float | None:
        """Share of the recent rows that are anomalous, or None without a baseline."""
        rows = self._recent.rows
        return self._recent.flagged / rows if self._baseline is not None and rows else None

    def expire(self) -> tuple[str, ...]:
        """Forget the recent rows, which are older than the window; returns the metrics' names."""
        self._recent = Recent(
            None if self._baseline is None else self._baseline.layout, self._window
        )
        self.drift = None
        for metric in telemetry.OF_THE_WINDOW:
            self._series.replace(metric, {})
        return tuple(metric.name for metric in telemetry.OF_THE_WINDOW)

    def observe(self, traffic: Observed) -> list[Reading]:
        """Add a batch, and compare the recent window with the baseline.

        Confidence and outliers are read in each window of the batch, drift in the last.
        """
        answers = self._table(traffic.probabilities)
        confidence = answers[:, 0]
        self._count(answers)
        profile, flagged = self._inputs(traffic, confidence)
        readings = self._shift(confidence)
        complete = False
        for part in self._parts(len(traffic.clients)):
            last = part.stop == len(traffic.clients)
            complete = self._recent.add(
                part.stop - part.start,
                now=float(traffic.at[part.stop - 1]),
                profile=self._last(profile, traffic.rows[part]) if last else None,
                flagged=int(flagged[part].sum()),
                answers=answers[part],
            )
            readings += [*self._confidence(), *self._anomalies()]
        return [*readings, *(self._drift() if complete else ())]

    def _parts(self, rows: int) -> Iterator[slice]:
        """A batch in windows, oldest first: a short one, then whole ones."""
        ends = range(rows, 0, -self._size)
        return (slice(max(0, end - self._size), end) for end in reversed(ends))

    @staticmethod
    def _last(profile: Profile | None, rows: Floats) -> Profile | None:
        if profile is None or profile.count == len(rows):
            return profile
        return Profile(profile.layout).update(rows)

    def _table(self, probabilities: Floats | None) -> Floats:
        """Confidence, predicted class, and probability of being correct (NaN if unknown)."""
        if probabilities is None or not len(probabilities):
            return np.empty((0, 3))
        right = np.full(len(probabilities), np.nan)
        known = None if self._baseline is None else self._baseline.calibration
        if known is not None and len(known.curves) == probabilities.shape[1]:
            right = known.right(probabilities)
        return np.column_stack([probabilities.max(axis=1), probabilities.argmax(axis=1), right])

    def _shift(self, confidence: Floats) -> list[Reading]:
        """Lasting shift of confidence, by ranks in the baseline, which are uniform without one."""
        known = np.empty(0) if self._baseline is None else self._baseline.confidences
        if not len(known) or not len(confidence):
            return []
        places = known.searchsorted(confidence), known.searchsorted(confidence, side="right")
        if not self._cusum.update((places[0] + places[1]) / (2 * len(known))):
            return []
        self._series.add(telemetry.CONFIDENCE_CHANGES, 1)
        window = "since it last was as in the baseline"
        return [Reading(metric=telemetry.CONFIDENCE_CHANGES, value=1.0, window=window)]

    def _count(self, answers: Floats) -> None:
        if not len(answers):
            return
        for each, count in enumerate(np.bincount(answers[:, 1].astype(np.int64)).tolist()):
            if count:
                self._series.add(telemetry.CLASSES, count, str(each))
        self._series.record(telemetry.CONFIDENCE_DISTRIBUTION, answers[:, 0])

    def _inputs(self, traffic: Observed, confidence: Floats) -> tuple[Profile | None, Bools]:
        rows, baseline = traffic.rows, self._baseline
        self._series.add(telemetry.ROWS, len(traffic.clients))
        if baseline is None or self.profile is None or rows.shape[1] != len(baseline.names):
            return None, np.zeros(len(traffic.clients), dtype=bool)
        profile = baseline.profile().update(rows)
        self.profile.merge(profile)
        flags = baseline.anomalies.flags(rows, confidence if len(confidence) else None)
        for name, marks in flags.items():
            self._series.add(telemetry.ANOMALY, int(marks.sum()), name)
        return profile, np.any(list(flags.values()), axis=0)

    def _confidence(self) -> list[Reading]:
        value, count = self.confidence, self._recent.answered
        if value is None:
            return []
        self._series.replace(telemetry.CONFIDENCE, {(): value})
        if self.expected_accuracy is not None:
            self._series.replace(telemetry.EXPECTED_ACCURACY, {(): self.expected_accuracy})
        if count < FEWEST_ROWS:
            return []
        reference = None if self._baseline is None else self._baseline.confidence
        window = f"last {count} predictions"
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
        answers = self._prediction_drift(points)
        count = float(len(self.drift.drifted))
        self._series.replace(telemetry.DRIFT, points)
        self._series.replace(telemetry.DRIFTED_FEATURES, {(): count})
        window = f"last {profile.count} rows"
        inputs = Reading(metric=telemetry.DRIFTED_FEATURES, value=count, window=window)
        return [inputs, *answers]

    def _prediction_drift(self, points: dict[tuple[str, ...], float]) -> list[Reading]:
        answers = self._recent.answers
        known = None if self._baseline is None else self._baseline.predictions
        if known is None or len(answers) < FEWEST_ROWS:
            return []
        moved = known.drift(answers, alpha=_ALPHA, effect=_EFFECT)
        for name, each in moved.features.items():
            points[name, "ks"], points[name, "psi"] = each.ks, each.psi
        count = float(len(moved.drifted))
        self._series.replace(telemetry.DRIFTED_PREDICTIONS, {(): count})
        window = f"last {len(answers)} predictions"
        return [Reading(metric=telemetry.DRIFTED_PREDICTIONS, value=count, window=window)]
