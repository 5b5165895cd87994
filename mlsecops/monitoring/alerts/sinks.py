"""Alert sinks: a log, a webhook, Alertmanager and OpenTelemetry events.

`LogSink` and `EventSink` act at once. `WebhookSink` and `AlertmanagerSink` deliver on a background
thread (`delivery`), so that a slow receiver does not delay monitoring.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import _logs
from opentelemetry._logs import LogRecord, SeverityNumber

from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring.alerts.delivery import QueuedSink
from mlsecops.monitoring.alerts.rules import alert_name
from mlsecops.monitoring.telemetry import metrics as telemetry

_LEVELS: Final = {
    Severity.INFO: (logging.INFO, SeverityNumber.INFO),
    Severity.LOW: (logging.INFO, SeverityNumber.INFO2),
    Severity.MEDIUM: (logging.WARNING, SeverityNumber.WARN),
    Severity.HIGH: (logging.ERROR, SeverityNumber.ERROR),
    Severity.CRITICAL: (logging.CRITICAL, SeverityNumber.FATAL),
}
_NANO: Final = 10**9  # nanoseconds in a second


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


class _HttpSink(QueuedSink):
    def __init__(self, url: str, headers: Mapping[str, str] | None, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"url: expected http://… or https://…, got scheme {parts.scheme!r}")
        self._url, self._headers, self._timeout = url, dict(headers or {}), timeout
        super().__init__(self._send)

    def _send(self, alerts: Sequence[Alert]) -> None:
        raise NotImplementedError

    def _post(self, body: bytes, extra: Mapping[str, str] = MappingProxyType({})) -> None:
        headers = {"Content-Type": "application/json", **self._headers, **extra}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - the scheme was checked
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self._timeout):
            pass


@concise_repr("_url", "_timeout")
class WebhookSink(_HttpSink):
    """Posts each alert as JSON to an address.

    Args:
        url: `https://…` or `http://…`.
        headers: Further headers, for authentication.
        secret: Key of an HMAC-SHA256 over the body, sent as `X-Mlsecops-Signature: sha256=<hex>`.
        timeout: Seconds to wait for an answer.

    Raises:
        UsageError: The address is not one of these.

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
    ) -> None:
        self._secret = secret
        super().__init__(url, headers, timeout)

    def _send(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            body = json.dumps(alert.to_dict()).encode()
            if self._secret is None:
                self._post(body)
            else:
                mac = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
                self._post(body, {"X-Mlsecops-Signature": f"sha256={mac}"})


@concise_repr("_url", "_timeout")
class AlertmanagerSink(_HttpSink):
    """Posts alerts to Alertmanager, with the same labels as `alerts.yml`.

    Alertmanager merges it with Prometheus' alert of the same rule, unless it names a client.

    Args:
        url: Address of Alertmanager (`"http://alertmanager:9093"`).
        headers: Further headers, for authentication.
        timeout: Seconds to wait for an answer.

    Raises:
        UsageError: The address is malformed.

    Source: Alertmanager, API v2 (`POST /api/v2/alerts`).
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0
    ) -> None:
        super().__init__(f"{url.rstrip('/')}/api/v2/alerts", headers, timeout)

    def _send(self, alerts: Sequence[Alert]) -> None:
        body = json.dumps([_for_alertmanager(alert) for alert in alerts]).encode()
        self._post(body)


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
