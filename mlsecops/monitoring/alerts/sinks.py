"""Alert sinks: a log, a webhook, Alertmanager and OpenTelemetry events.

`LogSink` and `EventSink` act at once. `WebhookSink` and `AlertmanagerSink` deliver on a background
thread (`delivery`), so that a slow receiver does not delay monitoring.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import _logs
from opentelemetry._logs import LogRecord, SeverityNumber

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring.alerts.delivery import QueuedSink
from mlsecops.monitoring.alerts.rules import DEFAULT_RULES, alert_name, checked_labels
from mlsecops.monitoring.telemetry import metrics as telemetry

_LEVELS: Final = {
    Severity.INFO: (logging.INFO, SeverityNumber.INFO),
    Severity.LOW: (logging.INFO, SeverityNumber.INFO2),
    Severity.MEDIUM: (logging.WARNING, SeverityNumber.WARN),
    Severity.HIGH: (logging.ERROR, SeverityNumber.ERROR),
    Severity.CRITICAL: (logging.CRITICAL, SeverityNumber.FATAL),
}
_MOST: Final = 64  # alerts of a request; chosen: bounds its size
_NANO: Final = 10**9  # nanoseconds in a second
_LASTS: Final = 3600.0  # seconds that an alert of an unknown rule lasts; as the longest cooldown
_SLACK: Final = 300.0  # seconds; as Alertmanager's resolve_timeout


@concise_repr("_logger.name")
class LogSink:
    """Writes each alert as one line of JSON to `mlsecops.alerts` or another logger."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("mlsecops.alerts")

    def __call__(self, alert: Alert) -> None:
        """Write an alert; JSON keeps a client's name from forging lines."""
        self._logger.log(_LEVELS[alert.severity][0], "%s", json.dumps(alert.to_dict()))


@concise_repr()
class EventSink:
    """Emits each alert as an OpenTelemetry log event.

    Source: OpenTelemetry specification, Logs Data Model (event name, severity number).
    """

    def __call__(self, alert: Alert) -> None:
        """Emit an alert; without an SDK it is discarded."""
        attributes: dict[str, Any] = {
            telemetry.MONITOR: alert.monitor,
            telemetry.RULE: alert.rule,
            telemetry.SEVERITY: alert.severity.label,
            telemetry.READING: alert.reading,
            telemetry.THRESHOLD: alert.threshold,
            telemetry.WINDOW: alert.window,
            telemetry.CLIENT: alert.client,
            telemetry.DIGEST: alert.digest,
            telemetry.ATLAS: alert.atlas,
            telemetry.STATE: alert.state,
            telemetry.ALERT_ID: alert.id,
        }
        _logs.get_logger(telemetry.SCOPE, telemetry.VERSION).emit(
            LogRecord(
                timestamp=int(alert.at.timestamp() * _NANO),
                severity_number=_LEVELS[alert.severity][1],
                severity_text=alert.severity.label.upper(),
                body=alert.message,
                attributes={name: each for name, each in attributes.items() if each is not None},
                event_name=telemetry.ALERT_EVENT,
            )
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, so that an alert reaches the configured address or none."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


class _HttpSink(QueuedSink, abc.ABC):
    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        timeout: float,
        labels: Mapping[str, str] | None,
        at_once: int,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"url: expected http://… or https://…, got scheme {parts.scheme!r}")
        self._url, self._headers, self._timeout = url, dict(headers or {}), timeout
        self._labels = checked_labels("labels", labels or {})
        super().__init__(self._send, at_once=at_once)

    @abc.abstractmethod
    def _send(self, alerts: Sequence[Alert]) -> None:
        """Send alerts; an exception is a failed attempt."""

    def _post(self, body: bytes, extra: Mapping[str, str] = MappingProxyType({})) -> None:
        headers = {"Content-Type": "application/json", **self._headers, **extra}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - the scheme was checked
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self._timeout):
            pass


@concise_repr("_url", "_timeout")
@checked
class WebhookSink(_HttpSink):
    """Posts each alert as JSON to an address, once unless no answer comes.

    Args:
        url: `https://…` or `http://…`.
        headers: Further headers, for authentication.
        secret: Key of an HMAC-SHA256 over the body, sent as `X-Mlsecops-Signature: sha256=<hex>`.
        timeout: Seconds to wait for an answer.
        labels: Labels added to those of each alert, such as the environment.

    Raises:
        UsageError: The address is not one of these, or a label is malformed.

    Examples:
        >>> WebhookSink("https://pager.example.org/alerts", secret=b"shared").undelivered
        0
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        timeout: float = 5.0,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._secret = secret
        super().__init__(url, headers, timeout, labels, 1)

    def _send(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            plain = alert.to_dict()
            body = json.dumps({**plain, "labels": {**plain["labels"], **self._labels}}).encode()
            extra = {"X-Mlsecops-Alert": f"{alert.id}; {alert.state}; {alert.at.isoformat()}"}
            if self._secret is not None:
                mac = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
                extra["X-Mlsecops-Signature"] = f"sha256={mac}"
            self._post(body, extra)


@concise_repr("_url", "_timeout")
@checked
class AlertmanagerSink(_HttpSink):
    """Posts alerts to Alertmanager, with the same labels as `alerts.yml`.

    Alertmanager merges it with Prometheus' alert of the same rule, unless it names a client. A
    firing alert has an `endsAt` beyond its rule's cooldown and is posted again before that; a
    resolved one ends at once.

    Args:
        url: Address of Alertmanager (`"http://alertmanager:9093"`).
        headers: Further headers, for authentication.
        timeout: Seconds to wait for an answer.
        labels: Labels added to each alert: those of Prometheus' `external_labels`, or both alerts
            count.

    Raises:
        UsageError: The address or a label is malformed.

    Source: Alertmanager, API v2 (`POST /api/v2/alerts`); "Client behavior" (resending, endsAt).
    """

    renews: Final = True

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{url.rstrip('/')}/api/v2/alerts", headers, timeout, labels, _MOST)

    def _send(self, alerts: Sequence[Alert]) -> None:
        body = json.dumps([_for_alertmanager(alert, self._labels) for alert in alerts]).encode()
        self._post(body)


def _for_alertmanager(alert: Alert, more: Mapping[str, str]) -> dict[str, Any]:
    labels = {
        **alert.labels,
        **more,
        "alertname": alert_name(alert.rule),
        "monitor": alert.monitor,
        "rule": alert.rule,
        "severity": alert.severity.label,
        "atlas": alert.atlas,
        "client": alert.client,
    }
    annotations = {
        "summary": alert.message,
        "description": f"{alert.reading:g} against {alert.threshold:g}, {alert.window}.",
        "digest": alert.digest,
        "id": alert.id,
    }
    return {
        "labels": {name: each for name, each in labels.items() if each},
        "annotations": {name: each for name, each in annotations.items() if each},
        "startsAt": (alert.started_at or alert.at).isoformat(),
        "endsAt": _end(alert).isoformat(),
    }


def _end(alert: Alert) -> datetime:
    """When Alertmanager is to resolve an alert, if it hears no more of it."""
    if alert.state == "resolved" or alert.ends_at is not None:
        return alert.ends_at or alert.at
    lasts = {rule.id: rule.cooldown for rule in DEFAULT_RULES}.get(alert.rule, _LASTS)
    return alert.at + timedelta(seconds=lasts + _SLACK)
