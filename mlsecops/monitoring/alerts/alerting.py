"""Evaluation of readings against alert rules, on the worker thread.

readings → AlertRule.breached → `life` of the alert → Alert → sinks
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mlsecops.findings import Alert, Severity, Sink, alert_id
from mlsecops.monitoring.alerts.delivery import QueuedSink
from mlsecops.monitoring.alerts.life import AlertLife, AlertLives
from mlsecops.monitoring.alerts.rules import AlertRule
from mlsecops.monitoring.service.alert_table import AlertTable
from mlsecops.monitoring.service.folder import service_folder
from mlsecops.readings import Reading

_KEPT: Final = 256  # alerts in a state; chosen: bounds its memory
_RENEWAL: Final = 0.5  # of a cooldown; chosen: one lost renewal does not end an alert
_SLACK: Final = 300.0  # seconds; chosen: as Alertmanager's resolve_timeout


class Alerting:
    """Evaluates rules on the worker thread, and passes alerts to the sinks.

    Exceptions of sinks are swallowed, and reported by `failed`. `clock` is Unix time in seconds.
    """

    def __init__(
        self,
        rules: Iterable[AlertRule],
        sinks: Iterable[Sink],
        *,
        monitor: str,
        digest: str | None,
        clock: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        self.rules = tuple(rules)
        self._by_metric: dict[str, list[AlertRule]] = {}
        for rule in self.rules:
            self._by_metric.setdefault(rule.metric, []).append(rule)
        self._sinks = tuple(sinks)
        self._monitor = monitor
        self._digest = digest
        self._clock = clock
        self._failed = failed
        self.reset()

    def reset(self) -> None:
        """Forget all alerts, as a forked child must: they are its parent's to resolve."""
        self._lives = AlertLives()
        self._alerts: deque[Alert] = deque(maxlen=_KEPT)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The newest alerts, firing and resolved, oldest first."""
        return tuple(self._alerts)

    @property
    def firing(self) -> bool:
        """Whether any alert fires."""
        return self._lives.firing

    def consider(self, readings: Iterable[Reading]) -> list[Alert]:
        """Evaluate readings against the rules about their metrics; returns the new alerts."""
        return self.judge(
            (rule, reading)
            for reading in readings
            for rule in self._by_metric.get(reading.metric.name, ())
        )

    def judge(self, pairs: Iterable[tuple[AlertRule, Reading]]) -> list[Alert]:
        """Evaluate each reading against its rule; returns the alerts that begin to fire.

        What fires in another process of the service already is not among them.
        """
        now, raised = self._clock(), []
        for rule, reading in pairs:
            for step, life in self._lives.take(rule, reading, now):
                if step == "resolves":
                    self._resolve(life, now)
                else:
                    raised += self._fire(life, now)
        return raised

    def tick(self, gone: Iterable[str] = ()) -> None:
        """Resolve what is over and renew what lasts; `gone` are metrics without a reading now."""
        now = self._clock()
        self._lives.expire(set(gone))
        for life in self._lives.ended(now):
            self._resolve(life, now)
        table = _table()
        for life in self._lives.due(now, share=_RENEWAL):
            alert = self._alert(life, now)
            if table is not None:
                table.begin(alert.id, self._monitor, alert.to_dict(), _until(life, now))
            self._pass(alert, renewal=True)
        for plain in () if table is None else table.orphans(self._monitor, now):
            try:
                alert = _resolved(plain, now)
            except (KeyError, TypeError, ValueError):  # a damaged row, or of another version
                self._failed()
                continue
            self._report(alert)

    def deliver(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds; returns whether all sinks have delivered."""
        deadline = time.monotonic() + timeout
        queued = [sink for sink in self._sinks if isinstance(sink, QueuedSink)]
        done = [each.flush(max(0.0, deadline - time.monotonic())) for each in queued]
        return all(done)

    def _fire(self, life: AlertLife, now: float) -> list[Alert]:
        alert, table = self._alert(life, now), _table()
        if table is not None and not table.begin(
            alert.id, self._monitor, alert.to_dict(), _until(life, now)
        ):
            self._alerts.append(alert)
            return []
        self._report(alert)
        return [alert]

    def _resolve(self, life: AlertLife, now: float) -> None:
        alert, table = self._alert(life, now, state="resolved"), _table()
        if table is None or table.end(alert.id):
            self._report(alert)
        else:
            self._alerts.append(alert)

    def _report(self, alert: Alert) -> None:
        self._alerts.append(alert)
        self._pass(alert)

    def _alert(
        self, life: AlertLife, now: float, *, state: Literal["firing", "resolved"] = "firing"
    ) -> Alert:
        rule, reading = life.rule, life.reading
        ends = now if state == "resolved" else _until(life, now)
        whose = reading.client if rule.per == "client" else None
        return Alert(
            rule=rule.id,
            monitor=self._monitor,
            client=reading.client,
            digest=self._digest,
            reading=reading.value,
            threshold=rule.limit(reading) or 0.0,
            window=reading.window,
            severity=rule.severity,
            atlas=rule.atlas,
            message=rule.message,
            at=datetime.fromtimestamp(now, UTC),
            state=state,
            id=alert_id(rule.id, self._monitor, whose, self._digest),
            labels=dict(rule.labels),
            started_at=datetime.fromtimestamp(life.since, UTC),
            ends_at=datetime.fromtimestamp(ends, UTC),
        )

    def _pass(self, alert: Alert, *, renewal: bool = False) -> None:
        for sink in self._sinks:
            if renewal and not getattr(sink, "renews", False):
                continue
            try:
                sink(alert)
            except Exception:  # noqa: BLE001 - a sink's failure must not stop the others
                self._failed()


def _until(life: AlertLife, now: float) -> float:
    """Until when a firing alert holds without being renewed, as Unix time in seconds."""
    return now + life.rule.cooldown + _SLACK


def _table() -> AlertTable | None:
    folder = service_folder()
    return None if folder is None else AlertTable(folder)


def _resolved(plain: Mapping[str, Any], now: float) -> Alert:
    """The end of an alert whose process ended before it."""
    at = datetime.fromtimestamp(now, UTC)
    return Alert(
        **{
            **plain,
            "severity": Severity[str(plain["severity"]).upper()],
            "at": at,
            "ends_at": at,
            "started_at": datetime.fromisoformat(plain["started_at"]),
            "state": "resolved",
        }
    )
