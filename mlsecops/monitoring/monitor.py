"""What stands behind a monitored function: its ring, its aggregation and its state."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

from mlsecops.drift.baseline import Baseline
from mlsecops.drift.histograms import Profile
from mlsecops.drift.rolling_window import Window
from mlsecops.drift.tests import DriftReport
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Sink
from mlsecops.monitoring.accuracy import AccuracyChange, AccuracyPoint
from mlsecops.monitoring.aggregation import Aggregation
from mlsecops.monitoring.alerts.metric_rules import Exported
from mlsecops.monitoring.alerts.rules import Alerting, AlertRule
from mlsecops.monitoring.batches import Pace
from mlsecops.monitoring.call_reader import CallReader
from mlsecops.monitoring.capture import Captured, Captures
from mlsecops.monitoring.clients import ClientState
from mlsecops.monitoring.controls import ControlKind
from mlsecops.monitoring.identifier_length import bounded
from mlsecops.monitoring.queue import CallRecord, Label, Ring
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import series_of
from mlsecops.monitoring.worker import Drained, worker
from mlsecops.readings import Detector, Metric

__all__ = ["Monitor", "MonitorState"]

_MOST_BATCHES: Final = 8
_COUNTED: Final = (telemetry.CONFIDENCE_BUCKET, telemetry.ANOMALY)
_LOOKS: Final = 100
_FRESH: Final = 1.0
_HOLD: Final = 2.0
_CLOSING: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """What a monitor knows at one moment.

    Attributes:
        calls: Calls that ended, refused ones included.
        processed: Calls that were aggregated.
        dropped: Calls that nobody looked at, because the ring was full or the monitor closed.
        failures: Failures of the monitoring itself, which were swallowed.
        confidence: Mean confidence of the recent predictions, or None without probabilities.
        anomaly: Share of the recent rows that are anomalous, or None without a baseline.
        drift: Latest comparison with the baseline, or None before the first.
        clients: What is known about each client that is remembered.
        accuracy: Accuracy over the recent labels, or None without labels.
        alerts: The newest alerts, oldest first.
        profile: Distribution of all inputs so far, or None without a baseline.
        confidences: Upper bound → predictions with a confidence up to it and above the bound
            before.
        anomalies: Detector → rows over its threshold.
        expected_accuracy: Accuracy to expect of the recent predictions, or None unless the
            baseline was fitted with labels.
        accuracy_change: How accuracy last changed, or None.
        accuracy_points: Accuracy over time, one point for fifty labels, oldest first.
    """

    calls: int
    processed: int
    dropped: int
    failures: int
    confidence: float | None
    anomaly: float | None
    drift: DriftReport | None
    clients: Mapping[str, ClientState]
    accuracy: float | None
    alerts: tuple[Alert, ...]
    profile: Profile | None
    confidences: Mapping[str, int] = field(default_factory=dict)
    anomalies: Mapping[str, int] = field(default_factory=dict)
    expected_accuracy: float | None = None
    accuracy_change: AccuracyChange | None = None
    accuracy_points: tuple[AccuracyPoint, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "calls": self.calls,
            "processed": self.processed,
            "dropped": self.dropped,
            "failures": self.failures,
            "confidence": self.confidence,
            "anomaly": self.anomaly,
            "drift": None if self.drift is None else self.drift.to_dict(),
            "clients": {name: asdict(each) for name, each in self.clients.items()},
            "accuracy": self.accuracy,
            "expected_accuracy": self.expected_accuracy,
            "accuracy_change": None
            if self.accuracy_change is None
            else asdict(self.accuracy_change),
            "accuracy_points": [asdict(each) for each in self.accuracy_points],
            "alerts": [alert.to_dict() for alert in self.alerts],
            "profile": None if self.profile is None else {"rows": self.profile.count},
            "confidences": dict(self.confidences),
            "anomalies": dict(self.anomalies),
        }


class Monitor:
    """State and control of one monitored function (`fn.monitor`).

    Made by `monitored`. It lives until `close` is called or the process ends.

    Args:
        name: Value of the `monitor` attribute in every metric and alert.
        baseline: Normal, or None.
        reader: Turns events into tables.
        detectors: Detectors besides those that the baseline brings.
        rules: When to raise an alert.
        sinks: Who is told.
        capacity: Most calls that may wait for the worker.
        digest: `"sha256:<hex>"` of the model, or None.
        clock: Unix time in seconds.
        controls: Names of the controls that watch the function → `"guard"` or `"detector"`.
        captures: Where calls are kept as they were; by default none are.
        window: What counts as recent; 256 rows by default.
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
        controls: Mapping[str, ControlKind] = MappingProxyType({}),
        captures: Captures | None = None,
        window: Window | None = None,
    ) -> None:
        if capacity < 1:
            raise UsageError(f"capacity: expected at least 1 call, got {capacity}")
        self.name = name
        self.digest = digest
        self.controls = dict(controls)
        self._captures = captures or Captures()
        self._ring = Ring(capacity)
        self._pace = Pace()
        self._clock = clock
        self._series = series_of(name)
        # Monitors of one name share their counters; what others counted before is not ours.
        self._before = {each: self._series.counts(each) for each in _COUNTED}
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._counting = threading.Lock()
        self._processed = self._failures = self._told = 0
        self._closed = False
        self._refreshed = -math.inf
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
            exported=Exported(rules, self._series, clock),
            failed=self.failed,
            window=window,
        )
        self._series.refreshers.append(self._refresh)
        worker.serve(self)

    def snapshot(self) -> MonitorState:
        """What is known now; calls that still wait are counted, but not processed."""
        for _ in range(_LOOKS):
            # The worker does not wait for whoever looks, and may change what is being read.
            with contextlib.suppress(RuntimeError):
                return self._state()
        return self._state()

    def _state(self) -> MonitorState:
        with self._counting:
            processed, failures = self._processed, self._failures
        aggregation = self._aggregation
        profile = aggregation.watch.profile
        return MonitorState(
            calls=self._ring.calls,
            processed=processed,
            dropped=self._ring.dropped,
            failures=failures,
            confidence=aggregation.watch.confidence,
            anomaly=aggregation.watch.anomaly,
            drift=aggregation.watch.drift,
            clients=aggregation.clients,
            accuracy=aggregation.accuracy,
            alerts=aggregation.alerting.alerts,
            profile=None if profile is None else profile.copy(),
            confidences=_apart(self._counted(telemetry.CONFIDENCE_BUCKET)),
            anomalies=self._counted(telemetry.ANOMALY),
            expected_accuracy=aggregation.watch.expected_accuracy,
            accuracy_change=aggregation.change,
            accuracy_points=aggregation.points,
        )

    @property
    def captured(self) -> tuple[Captured, ...]:
        """The newest calls as they were, oldest first; empty unless `capture` asked for them."""
        return self._captures.kept

    def _counted(self, metric: Metric) -> dict[str, int]:
        """A counter since this monitor was made, by its one attribute."""
        counts = self._series.counts(metric)
        counts.subtract(self._before[metric])
        return dict(counts)

    def flush(self, timeout: float = 5.0) -> bool:
        """Aggregate everything that waits, on this thread, and let its alerts be delivered.

        Args:
            timeout: Seconds to try for.

        Returns:
            Whether nothing waits any more.
        """
        deadline = time.monotonic() + timeout
        settled = self._settle(timeout)
        if self._owner != threading.get_ident():
            self._aggregation.alerting.deliver(deadline - time.monotonic())
        return settled

    def _settle(self, timeout: float) -> bool:
        """Aggregate everything that waits."""
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
        return not len(self._ring)

    def record_label(self, request_id: Any, label: Any) -> None:
        """Say what the right answer was.

        Args:
            request_id: What `request_id` gave for the call, or for the row.
            label: True class, or one for each row of the request.
        """
        arrived = Label(bounded(str(request_id)), label, self._clock())
        if self._closed or not self._ring.leave(arrived):
            self.failed()
        elif worker.asleep:
            worker.wake()

    def close(self) -> None:
        """Aggregate what waits and stop looking; later calls count as dropped."""
        if not self._closed:
            self._settle(_CLOSING)
            self._closed = True
            self._settle(_CLOSING)
            self._aggregation.alerting.deliver(_HOLD)
            worker.leave(self)
            if self._refresh in self._series.refreshers:
                self._series.refreshers.remove(self._refresh)

    def record(self, event: CallRecord, size: int) -> None:
        """Leave a call for the worker; this runs on the caller's thread.

        Args:
            event: The call.
            size: Bytes of the arrays it holds.
        """
        if self._closed:
            self._ring.drop()
            self._told += 1
            self._series.add(telemetry.DROPPED, 1)
            return
        self._ring.append(event, size)
        if worker.asleep:
            worker.wake()

    def guarded(self, guard: str) -> None:
        """Say that a guard may refuse calls, before it does."""
        self._series.add(telemetry.REFUSALS, 0, guard)

    def failed(self) -> None:
        """Count a failure of the monitoring."""
        with self._counting:
            self._failures += 1
        self._series.add(telemetry.FAILURES, 1)

    def drain(self) -> Drained:
        """Aggregate some of what waits, unless somebody else is at it."""
        if not self._lock.acquire(blocking=False):
            return "some"
        try:
            self._owner = threading.get_ident()
            some = False
            for _ in range(_MOST_BATCHES):
                wanted, taken = self._pace.events, self._drain()
                some = some or taken > 0
                # What came meanwhile is few: taken at once, it would hold up as many callers.
                if taken < wanted:
                    return "some" if some else "nothing"
            return "more"
        finally:
            self._owner = None
            self._lock.release()

    def _drain(self) -> int:
        """Aggregate a batch, and say how many events it had."""
        events, start = self._ring.take(self._pace.events), time.thread_time()
        dropped = self._ring.dropped
        fresh, self._told = dropped - self._told, dropped
        try:
            if fresh:
                self._series.add(telemetry.DROPPED, fresh)
            if events:
                self._aggregation.take(events)
            if events or fresh:
                self._aggregation.judge()
        except Exception:  # noqa: BLE001 - monitoring never takes the served model down
            self.failed()
        count = sum(1 for event in events if isinstance(event, CallRecord))
        with self._counting:
            self._processed += count
        self._series.add(telemetry.PROCESSED, count)
        self._pace.learn(len(events), time.thread_time() - start)
        return len(events)

    def _refresh(self) -> None:
        """Let an exporter read what waits too, and nothing that is half aggregated."""
        self._settle(0.5)
        now = self._clock()
        if abs(now - self._refreshed) >= _FRESH and self._lock.acquire(blocking=False):
            self._refreshed = now
            try:
                self._aggregation.refresh(now)
            finally:
                self._lock.release()

    def hold(self) -> None:
        """Come to rest before a fork, unless this thread forks out of a sink."""
        if self._owner != threading.get_ident() and self._lock.acquire(timeout=_HOLD):
            self._owner = -1
        self._ring.hold()

    def release(self) -> None:
        """Go on after a fork, in the parent."""
        self._ring.release()
        if self._owner == -1:
            self._owner = None
            self._lock.release()

    def renew(self) -> None:
        """Start from nothing in a forked child: what was counted or waits is the parent's."""
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._owner = None
        self._ring.renew()
        self._series.clear()
        self._before = {each: self._series.counts(each) for each in _COUNTED}
        self._processed = self._failures = self._told = 0


def _apart(cumulative: Mapping[str, int]) -> dict[str, int]:
    """Counts of single buckets, from those of all up to each."""
    below = [0, *cumulative.values()]
    return {
        bound: count - before
        for (bound, count), before in zip(cumulative.items(), below, strict=False)
    }
