"""Aggregation of calls on the worker thread: counters, histograms, comparisons and alerts.

calls, labels → tables of up to 4,096 rows → BaselineDetector, detectors → readings → Alerting
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np

from mlsecops._bounded.mapping import BoundedMap
from mlsecops.drift.alarms.alarm_rate import WEEKLY, AlarmRate
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.rolling_window import Window
from mlsecops.findings import Alert
from mlsecops.monitoring.alerts.alerting import Alerting
from mlsecops.monitoring.alerts.metric_rules import MetricRules
from mlsecops.monitoring.baseline_detector import BaselineDetector
from mlsecops.monitoring.calls.batches import TABLE_ROWS, CallTable, RowBuffer, stack, uniform_runs
from mlsecops.monitoring.calls.call_reader import CallReader, CallRows
from mlsecops.monitoring.calls.capture import Captures
from mlsecops.monitoring.calls.unread import UnreadCalls
from mlsecops.monitoring.clients import ClientState, ClientTraffic, numbered
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.label_matching import LabelMatcher
from mlsecops.monitoring.queue import CallRecord, Label
from mlsecops.monitoring.service.merge import is_recent, joined
from mlsecops.monitoring.service.state import WindowState
from mlsecops.monitoring.suspicion import Suspicion
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Points, Series
from mlsecops.readings import Detector, Observed, Reading

_MOST_SHARED: Final = 64  # rates; chosen: the busiest client of all is among each process's
_ENDING: Final = attrgetter("outcome", "error")


class Aggregation:
    """All that a monitor computes about its traffic.

    Exceptions of `detectors` and user callables are swallowed, and reported by `failed`.
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
        metric_rules: MetricRules,
        failed: Callable[[], None],
        pass_on: Callable[[Label], bool] = lambda _: False,
        window: Window | None = None,
        rate: AlarmRate = WEEKLY,
    ) -> None:
        reference = None if baseline is None else baseline.accuracy
        rows = 0 if baseline is None else baseline.rows
        self.labels = LabelMatcher(reference, rows=rows, rate=rate)
        self.recent = BaselineDetector(baseline, series, window=window, rate=rate)
        self.unread = UnreadCalls(series)
        self.alerting = alerting
        self._baseline = baseline
        self._reader = reader
        self._buffer = RowBuffer()
        self._detectors = detectors
        self._series = series
        self._captures = captures
        self._metric_rules = metric_rules
        self._failed = failed
        self._pass_on = pass_on
        self._clients: BoundedMap[str, ClientTraffic] = BoundedMap(ClientTraffic)
        self._suspicion = Suspicion(series)
        self._seconds = (window or Window()).seconds
        self._newest = -math.inf
        self._start()

    def _start(self) -> None:
        """Create the points of counters: Prometheus sees no increase to one that did not exist."""
        for outcome in ("ok", "error", "refused"):
            self._series.add(telemetry.CALLS, 0, outcome, "")
        for outcome in ("matched", "unknown", "forwarded"):
            self._series.add(telemetry.LABELS, 0, outcome)
        for rule in self.alerting.rules:
            self._series.add(telemetry.ALERTS, 0, rule.id, rule.severity.label)

    @property
    def clients(self) -> dict[str, ClientState]:
        """Traffic of the remembered clients, least recently seen first."""
        known = ((name, self._clients.get(name)) for name in self._clients)
        return {name: ClientState(rows=c.rows, rate=c.rate) for name, c in known if c is not None}

    def take(self, events: Sequence[CallRecord | Label]) -> None:
        """Aggregate calls and labels, oldest first."""
        calls = [event for event in events if isinstance(event, CallRecord)]
        self._count(calls)
        for event in calls if self._captures.wanted else ():
            self._attempt(self._captures.take, event)
        single: list[CallRecord | Label] = []
        for run in uniform_runs(events):
            table = self._attempt(self._stack, run)
            if table is None:
                single += run
                self._singly(run)
            else:
                self._observe()
                self._table(table, run)
        self._observe()
        self._attempt(lambda: self._consider(self.unread.readings()))
        self._attempt(self._accuracy)
        unread = [
            (str(event.client), event.at)
            for event in single
            if isinstance(event, CallRecord) and event.client is not None and not _readable(event)
        ]
        self._attempt(self._rates, [name for name, _ in unread], [at for _, at in unread])

    def refresh(self, now: float) -> None:
        """Update the client rates at a Unix time in seconds: they fall without calls."""
        known = (self._clients.get(name) for name in self._clients)
        rates = [each.current(now) for each in known if each is not None]
        self._series.replace(telemetry.CLIENT_RATE, {(): max(rates)} if rates else {})

    def tick(self, now: float) -> None:
        """Let readings grow old at a Unix time in seconds, and alerts end or be renewed."""
        gone: tuple[str, ...] = ()
        if now - self._newest > self._seconds:
            self._newest = -math.inf
            gone = self.recent.expire()
        self._suspicion.forget(now)
        self.judge()
        self.alerting.tick(gone)

    def shared(self, now: float) -> WindowState:
        """The recent traffic, for the other processes of the service."""
        facts, arrays = self.recent.shared()
        known = [(name, self._clients.get(name)) for name in self._clients]
        traffic = {numbered(name, each): each.current(now) for name, each in known if each}
        return WindowState(
            facts
            | self.labels.shared()
            | {
                "at": now,
                "newest": self._newest if math.isfinite(self._newest) else None,
                "suspects": self._suspicion.shared(now),
                "busiest": sorted(traffic.items(), key=lambda each: -each[1])[:_MOST_SHARED],
            },
            {**arrays, "clients": np.array(list(traffic), dtype=np.int64)},
        )

    def joined(self, others: Sequence[WindowState], now: float) -> dict[str, Points]:
        """Readings over the recent traffic of all processes, by the metric's name."""
        recent = [each for each in others if is_recent(each, now, self._seconds)]
        return joined([self.shared(now), *others], now) | self.recent.joined(recent)

    def judge(self) -> None:
        """Apply the rules about exported metrics."""
        self._raised(self.alerting.judge(self._metric_rules.readings()))

    def _count(self, calls: Sequence[CallRecord]) -> None:
        for (outcome, error), count in Counter(map(_ENDING, calls)).items():
            self._series.add(telemetry.CALLS, count, outcome, error)
            if outcome == "refused":
                self._series.add(telemetry.REFUSALS, count, error)
        if calls:
            seconds = np.array([event.seconds for event in calls if event.outcome != "refused"])
            self._series.record(telemetry.DURATION, seconds)

    def _stack(self, run: Sequence[CallRecord | Label]) -> CallTable | None:
        return stack(run, self._baseline) if self._reader.plain else None

    def _table(self, table: CallTable, run: Sequence[CallRecord | Label]) -> None:
        self.unread.add(calls=len(run))
        classes = table.classes
        ids = [event.request_id for event in run if isinstance(event, CallRecord)]
        if classes is not None and ids.count(None) < len(ids):
            for place, event in enumerate(run):
                if isinstance(event, CallRecord) and event.request_id is not None:
                    self._attempt(self._remember, event, classes[place : place + 1])
        self._show(table.traffic)

    def _singly(self, run: Sequence[CallRecord | Label]) -> None:
        for event in run:
            answer = self._attempt(self._label, event)
            if answer is None:
                continue
            if not self._buffer.takes(answer):
                self._observe()
            if self._buffer.add(answer) >= TABLE_ROWS:
                self._observe()

    def _label(self, event: CallRecord | Label) -> CallRows | None:
        """Match a label, or read a call and store its prediction for a later label."""
        if isinstance(event, Label):
            self._match(event)
            return None
        if not _readable(event):
            return None
        answer = self._reader.read(event)
        self.unread.add(inputs=answer.unread_inputs, answers=answer.unread_answers)
        if event.request_id is not None and answer.classes is not None:
            self._remember(event, answer.classes)
        return answer if len(answer.rows) else None

    def _match(self, label: Label) -> None:
        """Match a label here, or pass it on to the other processes of the service."""
        if label.foreign and not self.labels.knows(label.request_id):
            return  # another process predicted
        known = self.labels.labelled(label.request_id, label.label, label.at)
        outcome = "matched" if known else "forwarded" if self._pass_on(label) else "unknown"
        self._series.add(telemetry.LABELS, 1, outcome)

    def _remember(self, event: CallRecord, classes: Any) -> None:
        ids = event.request_id
        if isinstance(ids, (list, tuple, np.ndarray)) and len(ids) == len(classes):
            for place, each in enumerate(ids):
                self.labels.predicted(bounded(str(each)), classes[place : place + 1], event.at)
        else:
            self.labels.predicted(bounded(str(ids)), classes, event.at)

    def _accuracy(self) -> None:
        for metric, value in (
            (telemetry.ACCURACY, self.labels.accuracy),
            (telemetry.REFERENCE_ACCURACY, self.labels.reference),
            (telemetry.ACCURACY_LIMIT, self.labels.limit),
            (telemetry.ACCURACY_SLIDE, self.labels.slow_loss),
        ):
            if value is not None:
                self._series.replace(metric, {(): value})
        self._consider(self.labels.readings())

    def _observe(self) -> None:
        traffic = self._buffer.table()
        if traffic is not None:
            self._show(traffic)

    def _show(self, traffic: Observed) -> None:
        if len(traffic.at):
            self._newest = max(self._newest, float(traffic.at[-1]))
        self._attempt(lambda each: self._consider(self.recent.observe(each)), traffic)
        self._attempt(self._rates, traffic.clients, traffic.at.tolist())
        for detector in self._detectors:
            self._attempt(self._ask, detector, traffic)

    def _ask(self, detector: Detector, traffic: Observed) -> None:
        readings = list(detector.observe(traffic))
        self._suspicion.take(id(detector), readings, float(traffic.at[-1]))
        self._consider(readings)

    def _rates(self, clients: Sequence[str | None], at: Sequence[float]) -> None:
        """Add rows to their clients, refused and failed ones too, and evaluate the rates."""
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
        try:
            return step(*arguments)
        except Exception:  # noqa: BLE001 - a detector or a callable of the user's may raise anything
            self._failed()
            return None


def _readable(event: CallRecord) -> bool:
    return event.outcome == "ok" and not (event.inputs is None and event.result is None)
