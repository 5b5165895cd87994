"""Monitor of one function: its queue, its aggregation and its state.

record → CallQueue → drain (worker thread) → Aggregation → snapshot → MonitorState
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any, Final, TypeVar

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.drift.alarms.alarm_rate import WEEKLY, AlarmRate
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.rolling_window import Window
from mlsecops.findings import Sink
from mlsecops.monitoring.aggregation import Aggregation
from mlsecops.monitoring.alerts.alerting import Alerting
from mlsecops.monitoring.alerts.metric_rules import MetricRules
from mlsecops.monitoring.alerts.rules import AlertRule
from mlsecops.monitoring.calls.batches import BatchSize
from mlsecops.monitoring.calls.call_reader import CallReader
from mlsecops.monitoring.calls.capture import Captured, Captures
from mlsecops.monitoring.controls import ControlKind
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.monitor_state import MonitorState
from mlsecops.monitoring.process_end import termination
from mlsecops.monitoring.queue import CallQueue, CallRecord, Label
from mlsecops.monitoring.service.folder import VARIABLE, service_folder
from mlsecops.monitoring.service.label_exchange import LabelExchange
from mlsecops.monitoring.service.state import WindowState
from mlsecops.monitoring.service.tally import OUTCOMES, open_tally
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import Points, Series, series_of
from mlsecops.monitoring.worker import Drained, worker
from mlsecops.readings import Detector

R = TypeVar("R")

_MOST_BATCHES: Final = 8  # batches of a drain; chosen: other monitors wait no longer than that
_TRIES: Final = 100  # reads of a state that the worker changes meanwhile; chosen
_FRESH: Final = 1.0  # seconds between two refreshes of the rates; chosen: no scrape is faster
_HOLD: Final = 2.0  # seconds to wait before a fork, or for sinks at the close; chosen
_CLOSING: Final = 5.0  # seconds to aggregate the queue at the close; chosen


@concise_repr("name", "digest", "_processed", "_failures", "controls")
class Monitor:
    """State and control of one monitored function (`fn.monitor`), made by `monitored`.

    The arguments are those of `monitored`, with `reader` for the calls, `captures` for captured
    ones, and `controls`: names of the function's controls → `"guard"` or `"detector"`.
    """

    def __init__(
        self,
        name: str,
        *,
        baseline: Baseline | None,
        reader: CallReader,
        detectors: Sequence[Detector],
        rules: Sequence[AlertRule],
        sinks: Sequence[Sink],
        capacity: int,
        digest: str | None,
        clock: Callable[[], float],
        controls: Mapping[str, ControlKind],
        captures: Captures,
        window: Window | None,
        rate: AlarmRate = WEEKLY,
    ) -> None:
        self.name = name
        self.digest = digest
        self.controls = dict(controls)
        self._captures = captures
        self._queue = CallQueue(capacity, tally=self._tally)
        self._batch = BatchSize()
        self._clock = clock
        self._series = series_of(name)
        # Monitors of one name share their counters: earlier counts are of other monitors.
        self._start()
        self._closed = False
        self._refreshed = self._ticked = -math.inf
        alerting = Alerting(
            rules, sinks, monitor=name, digest=digest, clock=clock, failed=self.failed
        )
        self._aggregation = Aggregation(
            baseline,
            reader=reader,
            detectors=detectors,
            alerting=alerting,
            series=self._series,
            captures=self._captures,
            metric_rules=MetricRules(rules, self._series, clock),
            failed=self.failed,
            pass_on=self._pass_on,
            window=window,
            rate=rate,
        )
        self._series.sources.append(self)
        worker.add(self)
        if sinks or VARIABLE in os.environ:
            termination.watch()

    def _start(self) -> None:
        self._before = self._series.counts(telemetry.ANOMALY), _confidences(self._series)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._owner: int | None = None
        self._exchange: LabelExchange | None = None
        self._processed = self._failures = self._reported_drops = 0

    def snapshot(self) -> MonitorState:
        """The state now; queued calls are among `calls`, but not among `processed`."""
        return _unchanged(self._state)

    def _state(self) -> MonitorState:
        with self._counting:
            processed, failures = self._processed, self._failures
        aggregation = self._aggregation
        recent, labels = aggregation.recent, aggregation.labels
        return MonitorState(
            calls=self._queue.calls,
            processed=processed,
            dropped=self._queue.dropped,
            failures=failures,
            confidence=recent.confidence,
            anomaly=recent.anomaly,
            drift=recent.drift,
            clients=aggregation.clients,
            accuracy=labels.accuracy,
            alerts=aggregation.alerting.alerts,
            profile=None if recent.profile is None else recent.profile.copy(),
            confidences=_since(self._before[1], _confidences(self._series)),
            anomalies=_since(self._before[0], self._series.counts(telemetry.ANOMALY)),
            expected_accuracy=recent.expected_accuracy,
            expected_loss=recent.expected_loss,
            prediction_drift=recent.prediction_drift,
            unread_inputs=aggregation.unread.inputs,
            unread_answers=aggregation.unread.answers,
            accuracy_change=labels.course.change,
            accuracy_points=labels.course.points,
        )

    @property
    def captured(self) -> tuple[Captured, ...]:
        """The captured calls, oldest first; empty unless `capture` was set."""
        return self._captures.kept

    @property
    def expectant(self) -> bool:
        """Whether time or another process can change something: an alert ends, a label comes."""
        labels = self._exchange is not None and self._aggregation.labels.waiting
        return labels or self._aggregation.alerting.firing

    @checked
    def flush(self, timeout: float = 5.0) -> bool:
        """Aggregate the queue on this thread, and wait until its alerts are delivered.

        It tries for `timeout` seconds, and returns whether the queue is empty.
        """
        settled, _ = self._finish(timeout)
        return settled

    def finish(self, timeout: float) -> bool:
        """As `flush`; returns whether the alerts were delivered as well."""
        return all(self._finish(timeout))

    def _finish(self, timeout: float) -> tuple[bool, bool]:
        deadline = time.monotonic() + timeout
        settled = self._settle(timeout)
        if self._owner == threading.get_ident():
            return settled, False
        return settled, self._aggregation.alerting.deliver(deadline - time.monotonic())

    def _settle(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        if self._owner == threading.get_ident() or not self._lock.acquire(timeout=max(timeout, 0)):
            return False
        try:
            self._owner = threading.get_ident()
            while self._drain() and time.monotonic() < deadline:
                pass
        finally:
            self._owner = None
            self._lock.release()
        return not len(self._queue)

    def record_label(self, request_id: Any, label: Any) -> None:
        """Record the true class of a prediction.

        Args:
            request_id: Result of `request_id` for the call, or for the row.
            label: True class, or one for each row of the request.
        """
        arrived = Label(bounded(str(request_id)), label, self._clock())
        if self._closed or not self._queue.append_label(arrived):
            self.failed()
        elif worker.asleep:
            worker.wake()

    def close(self) -> None:
        """Aggregate the queue and stop; later calls are dropped."""
        if not self._closed:
            self._settle(_CLOSING)
            self._closed = True
            self._settle(_CLOSING)
            self._aggregation.alerting.deliver(_HOLD)
            worker.remove(self)
            if self in self._series.sources:
                self._series.sources.remove(self)
            worker.publication.publish(now=True)

    def record(self, event: CallRecord, size: int) -> None:
        """Queue a call whose arrays have `size` bytes; this runs on the caller's thread."""
        if self._closed:
            self._queue.drop()
            self._reported_drops += 1
            self._series.add(telemetry.DROPPED, 1)
            self._series.add(telemetry.CALLS, 1, event.outcome, event.error)
            return
        self._queue.append(event, size)
        if worker.asleep:
            worker.wake()

    def guarded(self, guard: str) -> None:
        """Announce a guard, so that its counter exists before it refuses a call."""
        self._series.add(telemetry.REFUSALS, 0, guard)

    def failed(self) -> None:
        """Count a failure of the monitoring."""
        with self._counting:
            self._failures += 1
        self._series.add(telemetry.FAILURES, 1)

    def drain(self) -> Drained:
        """Aggregate some batches, unless another thread does."""
        if not self._lock.acquire(blocking=False):
            return "some"
        try:
            self._owner = threading.get_ident()
            some = False
            for _ in range(_MOST_BATCHES):
                wanted, taken = self._batch.events, self._drain()
                some = some or taken > 0
                # The few calls that are left wait: a small batch delays callers just as long.
                if taken < wanted or len(self._queue) < wanted // 2:
                    return "some" if some else "nothing"
            return "more"
        finally:
            self._owner = None
            self._lock.release()

    def _drain(self) -> int:
        start = time.thread_time()
        self._take_labels()
        events = self._queue.take(self._batch.events)
        dropped = self._queue.dropped
        fresh, self._reported_drops = dropped - self._reported_drops, dropped
        try:
            if fresh:
                self._series.add(telemetry.DROPPED, fresh)
                for outcome, count in self._queue.take_lost().items():
                    self._series.add(telemetry.CALLS, count, outcome, "")
            if events:
                self._aggregation.take(events)
            if events or fresh:
                self._aggregation.judge()
            self._tick()
        except Exception:  # noqa: BLE001 - monitoring never takes the served model down
            self.failed()
        count = [type(event) for event in events].count(CallRecord)
        with self._counting:
            self._processed += count
        self._series.add(telemetry.PROCESSED, count)
        if events or fresh:
            worker.publication.dirty = True
        self._batch.learn(len(events), time.thread_time() - start)
        return len(events)

    def _tick(self) -> None:
        """Let time pass for readings and alerts, once a second."""
        now = self._clock()
        if abs(now - self._ticked) >= _FRESH:
            self._ticked = now
            self._aggregation.tick(now)

    def _labels(self) -> LabelExchange | None:
        """The exchange of labels with the service's other processes, if there are any."""
        folder = service_folder()
        if folder is not None and (self._exchange is None or self._exchange.folder is not folder):
            self._exchange = LabelExchange(folder)
        return None if folder is None else self._exchange

    def _pass_on(self, label: Label) -> bool:
        exchange = self._labels()
        return exchange is not None and exchange.offer(
            self.name, label.request_id, label.label, label.at
        )

    def _take_labels(self) -> None:
        """Queue the labels that other processes got for predictions of this one."""
        try:
            exchange = self._labels() if self._aggregation.labels.waiting else None
            for monitor, request_id, label, at in () if exchange is None else exchange.news():
                if monitor == self.name:
                    self._queue.append_label(Label(request_id, label, at, foreign=True))
        except OSError:
            self.failed()

    def _tally(self) -> MutableSequence[int] | memoryview:
        """Numbers of calls by outcome: in the service's folder, if there is one."""
        folder = service_folder()
        if folder is not None:
            with contextlib.suppress(OSError):
                self._labels()  # what is passed on from now on may be about this call
                return open_tally(folder.next_tally(), self.name)
        return [0] * len(OUTCOMES)

    def shared(self) -> WindowState:
        """The recent traffic, for the other processes of the service."""
        return _unchanged(lambda: self._aggregation.shared(self._clock()))

    def joined(self, others: Sequence[WindowState]) -> dict[str, Points]:
        """Readings over the recent traffic of this and of other processes, by metric."""
        return _unchanged(lambda: self._aggregation.joined(others, self._clock()))

    def refresh(self) -> None:
        """Aggregate what waits in the queue, and let the rates of clients fall."""
        self._settle(0.5)
        now = self._clock()
        if abs(now - self._refreshed) >= _FRESH and self._lock.acquire(blocking=False):
            self._refreshed = now
            try:
                self._aggregation.refresh(now)
            finally:
                self._lock.release()

    def hold(self) -> None:
        """Acquire the locks before a fork, unless a sink on this thread forks."""
        if self._owner != threading.get_ident() and self._lock.acquire(timeout=_HOLD):
            self._owner = -1
        self._queue.hold()

    def release(self) -> None:
        """Release the locks after a fork, in the parent."""
        self._queue.release()
        if self._owner == -1:
            self._owner = None
            self._lock.release()

    def reset(self) -> None:
        """Start from zero in a forked child: the counts and the queue are the parent's."""
        self._queue.reset()
        self._series.clear()
        self._aggregation.alerting.reset()
        self._aggregation.unread.reset()
        self._start()


def _unchanged(read: Callable[[], R]) -> R:
    """What is read while the worker, which does not wait for readers, changes nothing of it."""
    for _ in range(_TRIES):
        with contextlib.suppress(RuntimeError):
            return read()
    return read()


def _confidences(series: Series) -> Counter[str]:
    """Upper bound → predictions with a confidence between it and the bound before."""
    metric = telemetry.CONFIDENCE_DISTRIBUTION
    ((_, known),) = series.points(metric)
    bounds = (*(f"{bound:g}" for bound in metric.bounds), "+Inf")
    return Counter(dict(zip(bounds, known.counts.tolist(), strict=True)))


def _since(before: Counter[str], now: Counter[str]) -> dict[str, int]:
    """Counts of one monitor: monitors of one name share theirs, and earlier ones are not its."""
    grown = now.copy()
    grown.subtract(before)
    return dict(grown)
