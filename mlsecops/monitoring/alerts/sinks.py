"""Who is told of alerts: a log, a webhook, Alertmanager, OpenTelemetry; any callable besides.

`LogSink` and `EventSink` act at once. `WebhookSink` and `AlertmanagerSink` deliver from a
thread of their own (`courier`), so that a slow receiver cannot blind the monitoring.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import _logs
from opentelemetry._logs import LogRecord, SeverityNumber

from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring.alerts.delivery import Courier
from mlsecops.monitoring.alerts.rules import alert_name
from mlsecops.monitoring.telemetry import metrics as telemetry

__all__ = ["AlertmanagerSink", "EventSink", "LogSink", "WebhookSink"]

_LEVELS: Final = {
    Severity.INFO: logging.INFO,
    Severity.LOW: logging.INFO,
    Severity.MEDIUM: logging.WARNING,
    Severity.HIGH: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}
_SEVERITIES: Final = {
    Severity.INFO: SeverityNumber.INFO,
    Severity.LOW: SeverityNumber.INFO2,
    Severity.MEDIUM: SeverityNumber.WARN,
    Severity.HIGH: SeverityNumber.ERROR,
    Severity.CRITICAL: SeverityNumber.FATAL,
}
_NANO: Final = 10**9


class LogSink:
    """Writes each alert as one line of JSON, at the level of its severity.

    Args:
        logger: Where to; `mlsecops.alerts` by default.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("mlsecops.alerts")

    def __call__(self, alert: Alert) -> None:
        """Write an alert; JSON keeps a client's name from forging lines."""
        self._logger.log(_LEVELS[alert.severity], "%s", json.dumps(alert.to_dict()))


class EventSink:
    """Emits each alert as an OpenTelemetry log event, named by the table of `telemetry`.

    Source: OpenTelemetry specification, Logs Data Model (event name, severity number).
    """

    def __call__(self, alert: Alert) -> None:
        """Emit an alert; without an SDK nobody listens."""
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
        }
        _logs.get_logger(telemetry.SCOPE, telemetry.VERSION).emit(
            LogRecord(
                timestamp=int(alert.at.timestamp() * _NANO),
                severity_number=_SEVERITIES[alert.severity],
                severity_text=alert.severity.label.upper(),
                body=alert.message,
                attributes={name: each for name, each in attributes.items() if each is not None},
                event_name=telemetry.ALERT_EVENT,
            )
        )


class WebhookSink(Courier):
    """Posts each alert as JSON to an address.

    Args:
        url: `https://…` or `http://…`.
        headers: Further headers, for authentication say.
        secret: Key of an HMAC-SHA256 over the body, sent as `X-Mlsecops-Signature:
            sha256=<hex>`, by which the receiver knows who wrote.
        timeout: Seconds to wait for an answer.

    Raises:
        UsageError: The address is none of these.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        timeout: float = 5.0,
    ) -> None:
        self._url = _web(url)
        self._headers = dict(headers or {})
        self._secret = secret
        self._timeout = timeout
        super().__init__(self._send)

    def _send(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            body = json.dumps(alert.to_dict()).encode()
            headers = dict(self._headers)
            if self._secret is not None:
                mark = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
                headers["X-Mlsecops-Signature"] = f"sha256={mark}"
            _post(self._url, body, headers, self._timeout)


class AlertmanagerSink(Courier):
    """Posts alerts to Alertmanager, with the labels that `alerts.yml` gives them too.

    An alert that Prometheus raises from the same rule has the same labels, so that Alertmanager
    takes both for one, unless this one names a client.

    Args:
        url: Address of Alertmanager (`"http://alertmanager:9093"`).
        headers: Further headers, for authentication say.
        timeout: Seconds to wait for an answer.

    Raises:
        UsageError: The address is none.

    Source: Alertmanager, API v2 (`POST /api/v2/alerts`).
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0
    ) -> None:
        self._url = f"{_web(url).rstrip('/')}/api/v2/alerts"
        self._headers = dict(headers or {})
        self._timeout = timeout
        super().__init__(self._send)

    def _send(self, alerts: Sequence[Alert]) -> None:
        body = json.dumps([_for_alertmanager(alert) for alert in alerts]).encode()
        _post(self._url, body, self._headers, self._timeout)


def _for_alertmanager(alert: Alert) -> dict[str, Any]:
    labels = {
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
    }
    return {
        "labels": {name: each for name, each in labels.items() if each},
        "annotations": {name: each for name, each in annotations.items() if each},
        "startsAt": alert.at.isoformat(),
    }


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: an alert goes where it was meant to go, or nowhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, data=body, headers={"Content-Type": "application/json", **headers}, method="POST"
    )
    with urllib.request.build_opener(_Straight).open(request, timeout=timeout):
        pass


def _web(url: str) -> str:
    """An address that is one of the web."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"url: expected http://… or https://…, got one of scheme {parts.scheme!r}")
    return url
