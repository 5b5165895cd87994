"""Baseline detector: confidence, drift and outliers of recent traffic; always on.

Observed → BaselineDetector.observe → readings, and the metrics behind them
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable, Iterator
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.alarms.alarm_rate import WEEKLY, AlarmRate
from mlsecops.drift.alarms.sequential_test import SequentialTest
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.change_detection import Cusum
from mlsecops.drift.histograms import Profile
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.drift.rolling_window import FEWEST_ROWS, Recent, Window
from mlsecops.drift.tests import DriftReport
from mlsecops.monitoring.recent_losses import RecentLosses
from mlsecops.monitoring.service.state import WindowState
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Points, Series
from mlsecops.readings import Metric, Observed, Reading

_SCORES: Final = 3  # outlier scores, each with the declared false-positive rate
_DRIFTED: Final = "drifted"
_MOST_FEATURES: Final = 32  # exported features; chosen: bounds the number of time series
_RANK_SPREAD: Final = 12**-0.5  # standard deviation of a uniform distribution on [0, 1]
_EVIDENCE: Final = 25.0  # standard deviations; chosen: a false alarm in about 1e10 rows


class BaselineDetector:
    """Rolling comparison with a baseline; without one, only the confidence.

    Each window is tested, at a declared `rate` of false alarms (`mlsecops.drift.alarms`).
    """

    def __init__(
        self,
        baseline: Baseline | None,
        series: Series,
        *,
        window: Window | None = None,
        rate: AlarmRate = WEEKLY,
    ) -> None:
        self._baseline = baseline
        self._rate = rate
        self._series = series
        self._window = window = window or Window()
        self._size = window.rows
        self._losses = RecentLosses(baseline, window)
        self._start()
        self._cusum = Cusum(0.5, _RANK_SPREAD, threshold=_EVIDENCE)
        self.profile: Profile | None = None if baseline is None else baseline.profile()
        self.drift: DriftReport | None = None
        self.prediction_drift: DriftReport | None = None
        if baseline is not None and baseline.confidence is not None:
            series.replace(telemetry.CONFIDENCE_BASELINE, {(): baseline.confidence})
        if (
            baseline is not None
            and baseline.expected_loss is not None
            and baseline.loss is not None
        ):
            series.replace(telemetry.REFERENCE_LOSS, {(): baseline.loss})

    def _start(self) -> None:
        """Empty windows."""
        known, self._inputs_test, self._answers_test = self._baseline, None, None
        self._recent = self._empty()
        if known is not None:
            facts: Any = {"rate": self._rate, "window": self._window}
            self._inputs_test = SequentialTest(known.inputs, known.order, **facts)
            self._held = self._inputs_test.no_alarm()
            if known.predictions is not None and known.answer_order is not None:
                self._answers_test = SequentialTest(known.predictions, known.answer_order, **facts)
                self._held_answers = self._answers_test.no_alarm()

    def _empty(self) -> Recent:
        known = self._baseline
        if known is None:
            return Recent(None, self._window)
        answers = None if known.predictions is None else known.predictions.layout
        return Recent(known.layout, self._window, answers)

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the recent predictions, or None without probabilities."""
        return self._recent.confidence

    @property
    def expected_accuracy(self) -> float | None:
        """Estimated accuracy of the recent predictions, or None if not calibrated."""
        return self._recent.right

    @property
    def expected_loss(self) -> float | None:
        """Estimated loss of the recent answers that are no classes, or None if not known."""
        return self._losses.mean

    @property
    def anomaly(self) -> float | None:
        """Share of the recent rows that are anomalous; None if none of them could be read."""
        rows = self._recent.read
        return self._recent.flagged / rows if self._baseline is not None and rows else None

    def expire(self) -> tuple[str, ...]:
        """Forget the recent rows, which are older than the window; returns the metrics' names."""
        self._start()
        self._losses.clear()
        self.drift = self.prediction_drift = None
        for metric in telemetry.OF_THE_WINDOW:
            self._series.replace(metric, {})
        return tuple(metric.name for metric in telemetry.OF_THE_WINDOW)

    def shared(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The recent rows as plain numbers and arrays, for `joined` in another process."""
        facts, arrays = self._recent.shared()
        return facts | {"layout": self._identity, "losses": self._losses.shared()}, arrays

    @functools.cached_property
    def _confidence_spread(self) -> float:
        return 0.0 if self._baseline is None else float(self._baseline.confidences.std())

    @functools.cached_property
    def _identity(self) -> str | None:
        return None if self._baseline is None else self._baseline.layout.identity

    def joined(self, others: Iterable[WindowState]) -> dict[str, Points]:
        """Readings of the recent rows of this and of other processes, by the metric's name.

        Windows that were compared with another baseline are left out.
        """
        own, arrays = self.shared()
        series, recent = Series(self._series.monitor), self._empty()
        alike = [each for each in others if each.facts.get("layout") == own["layout"]]
        recent.absorb(own, arrays)
        for other in alike:
            recent.absorb(other.facts, other.arrays)
        losses = [own["losses"], *(each.facts.get("losses", (0, 0.0)) for each in alike)]
        if count := sum(int(each[0]) for each in losses):
            mean = sum(float(each[1]) for each in losses) / count
            series.replace(telemetry.EXPECTED_LOSS, {(): mean})
        whole = copy.copy(self)
        vars(whole).update(_series=series, _recent=recent)
        whole.measure()
        return {metric.name: dict(series.points(metric)) for metric in telemetry.OF_THE_WINDOW}

    def measure(self) -> list[Reading]:
        """Readings of the recent rows, which are exported as well."""
        return [*self._confidence(), *self._anomalies(), *self._drift()]

    def observe(self, traffic: Observed) -> list[Reading]:
        """Add a batch, and compare the recent window with the baseline.

        Confidence and outliers are read in each window of the batch, drift in the last.
        """
        answers = self._table(traffic.probabilities)
        confidence = answers[:, 0]
        self._count(answers)
        profile, flagged = self._inputs(traffic, confidence)
        answered = self._answers(traffic)
        readings = self._shift(confidence)
        complete = False
        for part in self._parts(len(traffic.clients)):
            last = part.stop == len(traffic.clients)
            complete = self._recent.add(
                part.stop - part.start,
                now=float(traffic.at[part.stop - 1]),
                profile=profile if last else None,
                flagged=int(flagged[part].sum()),
                answers=answers[part],
                answer_profile=answered if last else None,
                read=0 if profile is None else part.stop - part.start,
            )
            readings += [*self._confidence(), *self._anomalies()]
        return [*readings, *(self._drift() if complete else ())]

    def _parts(self, rows: int) -> Iterator[slice]:
        """A batch in windows, oldest first: a short one, then whole ones."""
        ends = range(rows, 0, -self._size)
        return (slice(max(0, end - self._size), end) for end in reversed(ends))

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
        """Profile of the newest window (None without a baseline), and the anomalous rows `(n,)`."""
        rows, baseline = traffic.rows, self._baseline
        self._series.add(telemetry.ROWS, len(traffic.clients))
        test = self._inputs_test
        if baseline is None or self.profile is None or test is None or not rows.shape[1]:
            return None, np.zeros(len(traffic.clients), dtype=bool)
        profile, newest = test.add(rows, traffic.at)
        self.profile.add(profile)
        flags = baseline.anomalies.flags(rows, confidence if len(confidence) else None)
        for name, marks in flags.items():
            self._series.add(telemetry.ANOMALY, int(marks.sum()), name)
        return newest, np.any(list(flags.values()), axis=0)

    def _answers(self, traffic: Observed) -> Profile | None:
        """Profile of the newest window of the answers; None if they are not watched."""
        test, known = self._answers_test, None if self._baseline is None else self._baseline.answers
        table = traffic.answers
        if test is None or known is None:
            return None
        if table is None and traffic.probabilities is not None:
            table = known.of_table(traffic.probabilities).table
        if table is None:
            return None
        if self._losses.add(traffic.rows, table) and self._losses.mean is not None:
            self._series.replace(telemetry.EXPECTED_LOSS, {(): self._losses.mean})
        return test.add(table, traffic.at)[1]

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
        return [
            Reading(
                metric=telemetry.CONFIDENCE,
                value=value,
                window=f"last {count} predictions",
                reference=reference,
                chance=self._lowest_by_chance(value, count),
            )
        ]

    def _lowest_by_chance(self, value: float, count: int) -> float | None:
        """Mean confidence below which chance does not bring so many normal answers.

        For a value on the usual side it is the usual confidence, which takes no computation.
        """
        test, known = self._answers_test, None if self._baseline is None else self._baseline
        if test is None or known is None or known.confidence is None:
            return None
        if value >= known.confidence:
            return known.confidence
        spread = self._confidence_spread * math.sqrt(test.noise(count)[0])
        return known.confidence + NormalDist().inv_cdf(test.risk) * spread

    def _highest_by_chance(self, value: float, count: int) -> float | None:
        """Share of anomalous rows above which chance does not bring so many normal rows."""
        test, known = self._inputs_test, self._baseline
        if test is None or known is None:
            return None
        usual = min(known.anomalies.false_positive_rate * _SCORES, 1.0)
        if value <= usual:
            return usual
        spread = math.sqrt(usual * (1 - usual) * test.typical_effect(count) / count)
        return usual - NormalDist().inv_cdf(test.risk) * spread

    def _anomalies(self) -> list[Reading]:
        rows, value = self._recent.read, self.anomaly
        if value is None:
            return []
        self._series.replace(telemetry.ANOMALY_RATIO, {(): value})
        if rows < FEWEST_ROWS:
            return []
        return [
            Reading(
                metric=telemetry.ANOMALY_RATIO,
                value=value,
                window=f"last {rows} rows",
                chance=self._highest_by_chance(value, rows),
            )
        ]

    def _drift(self) -> list[Reading]:
        points: dict[tuple[str, ...], float] = {}
        readings = [*self._input_drift(points), *self._prediction_drift(points)]
        if readings:
            drifted = {key[:1]: value for key, value in points.items() if key[1] == _DRIFTED}
            self._series.replace(telemetry.DRIFTED, drifted)
            distances = {key: value for key, value in points.items() if key[1] != _DRIFTED}
            self._series.replace(telemetry.DRIFT, distances)
        return readings

    def _input_drift(self, points: dict[tuple[str, ...], float]) -> list[Reading]:
        profile, test = self._recent.profile(), self._inputs_test
        if test is None or profile is None or not profile.count:
            return []
        self.drift, self._held = test.compare(profile, self._held)
        return self._drifted(self.drift, telemetry.DRIFTED_FEATURES, points, "rows")

    def _prediction_drift(self, points: dict[tuple[str, ...], float]) -> list[Reading]:
        profile, test = self._recent.answer_profile(), self._answers_test
        if test is None or profile is None or profile.count < FEWEST_ROWS:
            return []
        self.prediction_drift, self._held_answers = test.compare(profile, self._held_answers)
        return self._drifted(
            self.prediction_drift, telemetry.DRIFTED_PREDICTIONS, points, "predictions"
        )

    def _drifted(
        self, report: DriftReport, metric: Metric, points: dict[tuple[str, ...], float], what: str
    ) -> list[Reading]:
        """The number of drifted features, and the distances of those furthest away."""
        furthest = sorted(
            report.features.items(), key=lambda item: (not item[1].drifted, -item[1].ks)
        )
        for name, each in furthest[:_MOST_FEATURES]:
            points[name, "ks"], points[name, "psi"] = each.ks, each.psi
            points[name, _DRIFTED] = float(each.drifted)
        count = float(len(report.drifted))
        self._series.replace(metric, {(): count})
        return [Reading(metric=metric, value=count, window=f"last {report.rows} {what}")]
