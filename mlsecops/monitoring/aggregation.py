"""What becomes of events: counts, durations, comparisons, alerts; all on the worker's thread.

events → tables of up to 4,096 rows → Watch and detectors → readings → Alerting
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from mlsecops._bounded_map import BoundedMap
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.rolling_window import Window
from mlsecops.findings import Alert
from mlsecops.monitoring.accuracy import AccuracyChange, AccuracyPoint
from mlsecops.monitoring.alerts.metric_rules import Exported
from mlsecops.monitoring.alerts.rules import Alerting
from mlsecops.monitoring.baseline_detector import BaselineDetector
from mlsecops.monitoring.batches import TABLE_ROWS, CallTable, Gathering, alike, stacked
from mlsecops.monitoring.call_reader import CallReader, CallRows
from mlsecops.monitoring.capture import Captures
from mlsecops.monitoring.clients import ClientState, Rate
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.label_matching import Performance
from mlsecops.monitoring.queue import CallRecord, Label
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Series
from mlsecops.readings import Detector, Observed, Reading

__all__ = ["Aggregation"]

_BOUNDS: Final = np.array(telemetry.DURATION_BOUNDS)
_BOUND_NAMES: Final = (*(f"{bound:g}" for bound in telemetry.DURATION_BOUNDS), "+Inf")


class _Client:
    """Rows and rate of one client."""

    __slots__ = ("latest", "rate", "rows")

    def __init__(self) -> None:
        self.rate = Rate()
        self.rows = 0
        self.latest = 0.0

    def add(self, rows: int, now: float) -> float:
        self.rows += rows
        self.latest = self.rate.add(rows, now)
        return self.latest


class Aggregation:
    """Everything that a monitor computes about its traffic.

    Args:
        baseline: Normal, or None.
        reader: Turns events into tables.
        detectors: Further detectors; what they raise is swallowed and counted.
        alerting: Where readings go.
        series: Where metrics go.
        captures: Where calls are kept as they were.
        exported: Reads what is exported, for the rules about it.
        failed: Called once for each failure that was swallowed.
        window: What counts as recent.
    """

    def __init__(
        self,
        baseline: Baseline | None,
        *,
        reader: CallReader,
        detectors: Sequence[Detector],
        alerting: Alerting,
        series: Series,
        captures: Captures,
        exported: Exported,
        failed: Callable[[], None],
        window: Window | None = None,
    ) -> None:
        reference = None if baseline is None else baseline.accuracy
        self._performance = Performance(reference, rows=0 if baseline is None else baseline.rows)
        self.watch = BaselineDetector(baseline, series, window=window)
        self.alerting = alerting
        self._baseline = baseline
        self._reader = reader
        self._gathered = Gathering()
        self._detectors = detectors
        self._series = series
        self._captures = captures
        self._exported = exported
        self._failed = failed
        self._clients: BoundedMap[str, _Client] = BoundedMap(_Client)

    @property
    def accuracy(self) -> float | None:
        """Accuracy over the recent labels."""
        return self._performance.accuracy

    @property
    def points(self) -> tuple[AccuracyPoint, ...]:
        """Accuracy over time."""
        return self._performance.points

    @property
    def change(self) -> AccuracyChange | None:
        """The latest change of accuracy."""
        return self._performance.change

    @property
    def _slide(self) -> float | None:
        """Accuracy lost in the latest change, if that was slow."""
        change = self._performance.change
        return change.lost if change is not None and change.kind == "slow" else None

    @property
    def clients(self) -> dict[str, ClientState]:
        """Clients that are remembered, least recently seen first."""
        known = ((name, self._clients.get(name)) for name in self._clients)
        return {
            name: ClientState(rows=each.rows, rate=each.latest)
            for name, each in known
            if each is not None
        }

    def take(self, events: Sequence[CallRecord | Label]) -> None:
        """Take events in, oldest first."""
        calls = [event for event in events if isinstance(event, CallRecord)]
        self._count(calls)
        for event in calls if self._captures.wanted else ():
            self._attempt(self._captures.take, event)
        for run in alike(events):
            table = self._attempt(self._stack, run)
            if table is None:
                self._singly(run)
            else:
                self._observe()
                self._table(table, run)
        self._observe()
        self._attempt(self._accuracy)
        unread = [event for event in calls if event.client is not None and not _readable(event)]
        self._attempt(
            self._rates, [str(event.client) for event in unread], [event.at for event in unread]
        )

    def refresh(self, now: float) -> None:
        """Bring what falls by itself up to date: a client's rate, when it calls no more.

        Args:
            now: Unix time in seconds.
        """
        known = (self._clients.get(name) for name in self._clients)
        rates = [each.rate.add(0, now) for each in known if each is not None]
        self._series.replace(telemetry.CLIENT_RATE, {(): max(rates)} if rates else {})

    def judge(self) -> None:
        """Apply the rules about exported metrics."""
        self._raised(self.alerting.judge(self._exported.readings()))

    def _count(self, calls: Sequence[CallRecord]) -> None:
        """Count outcomes, refusals and durations."""
        for (outcome, error), count in Counter((e.outcome, e.error) for e in calls).items():
            self._series.add(telemetry.CALLS, count, outcome, error)
            if outcome == "refused":
                self._series.add(telemetry.REFUSALS, count, error)
        if not calls:
            return
        seconds = np.array([event.seconds for event in calls if event.outcome != "refused"])
        slots = np.bincount(_BOUNDS.searchsorted(seconds), minlength=len(_BOUNDS) + 1)
        for name, total in zip(_BOUND_NAMES, slots.cumsum().tolist(), strict=True):
            self._series.add(telemetry.DURATION_BUCKET, total, name)
        self._series.add(telemetry.DURATION_COUNT, len(seconds))
        self._series.add(telemetry.DURATION_SUM, float(seconds.sum()))

    def _stack(self, run: Sequence[CallRecord | Label]) -> CallTable | None:
        return stacked(run, self._baseline) if self._reader.plain else None

    def _table(self, table: CallTable, run: Sequence[CallRecord | Label]) -> None:
        """Look at a run that was read at once."""
        for place, event in enumerate(run):
            if isinstance(event, CallRecord) and event.request_id is not None:
                self._attempt(self._remember, event, table.classes[place : place + 1])
        self._show(table.traffic)

    def _singly(self, run: Sequence[CallRecord | Label]) -> None:
        """Read the calls of a run one by one, and look at tables as they fill."""
        for event in run:
            answer = self._attempt(self._label, event)
            if answer is None:
                continue
            if not self._gathered.takes(answer):
                self._observe()
            if self._gathered.add(answer) >= TABLE_ROWS:
                self._observe()

    def _label(self, event: CallRecord | Label) -> CallRows | None:
        """Match a label, or read a call and remember its answer for a later label."""
        if isinstance(event, Label):
            known = self._performance.labelled(event.request_id, event.label, event.at)
            self._series.add(telemetry.LABELS, 1, "matched" if known else "unknown")
            return None
        if not _readable(event):
            return None
        answer = self._reader.read(event)
        if event.request_id is not None and answer.classes is not None:
            self._remember(event, answer.classes)
        return answer

    def _remember(self, event: CallRecord, classes: Any) -> None:
        """Keep an answer under its request's id, or each row under its own."""
        ids = event.request_id
        if isinstance(ids, (list, tuple, np.ndarray)) and len(ids) == len(classes):
            for place, each in enumerate(ids):
                self._performance.predicted(
                    bounded(str(each)), classes[place : place + 1], event.at
                )
        else:
            self._performance.predicted(bounded(str(ids)), classes, event.at)

    def _accuracy(self) -> None:
        """Export the accuracy and judge it."""
        for metric, value in (
            (telemetry.ACCURACY, self._performance.accuracy),
            (telemetry.REFERENCE_ACCURACY, self._performance.reference),
            (telemetry.ACCURACY_SLIDE, self._slide),
        ):
            if value is not None:
                self._series.replace(metric, {(): value})
        self._consider(self._performance.readings())

    def _observe(self) -> None:
        """Look at what was gathered."""
        traffic = self._gathered.table()
        if traffic is not None:
            self._show(traffic)

    def _show(self, traffic: Observed) -> None:
        """Show a table to all detectors."""
        self._attempt(lambda each: self._consider(self.watch.observe(each)), traffic)
        self._attempt(self._rates, traffic.clients, traffic.at.tolist())
        for detector in self._detectors:
            self._attempt(self._ask, detector, traffic)

    def _ask(self, detector: Detector, traffic: Observed) -> None:
        readings = list(detector.observe(traffic))
        for metric in (telemetry.EXTRACTION, telemetry.COVERAGE):
            values = [each.value for each in readings if each.metric is metric]
            if values:
                self._series.replace(metric, {(): max(values)})
        self._consider(readings)

    def _rates(self, clients: Sequence[str | None], at: Sequence[float]) -> None:
        """Count rows of clients, refused and failed ones too, and judge their rates."""
        counts = Counter(name for name in clients if name is not None)
        latest = dict(zip(clients, at, strict=True))
        readings = []
        for name, rows in counts.items():
            rate = self._clients.use(name, latest[name]).add(rows, latest[name])
            readings.append(
                Reading(metric=telemetry.CLIENT_RATE, value=rate, window="last minute", client=name)
            )
        if readings:
            busiest = max(reading.value for reading in readings)
            self._series.replace(telemetry.CLIENT_RATE, {(): busiest})
        self._series.replace(telemetry.CLIENTS, {(): float(len(self._clients))})
        self._consider(readings)

    def _consider(self, readings: Iterable[Reading]) -> None:
        self._raised(self.alerting.consider(readings))

    def _raised(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._series.add(telemetry.ALERTS, 1, alert.rule, alert.severity.label)

    def _attempt(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Do a step; a failure of telemetry is swallowed and counted."""
        try:
            return step(*arguments)
        except Exception:  # noqa: BLE001 - a detector or a callable of the user's may raise anything
            self._failed()
            return None


def _readable(event: CallRecord) -> bool:
    """Whether a call left something to read."""
    return event.outcome == "ok" and not (event.inputs is None and event.result is None)
