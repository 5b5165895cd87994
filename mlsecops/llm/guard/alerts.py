"""Alerts of prompt injection, rate-limited for each client.

event → `Alert` of AML.T0051 → every sink, at most one a client in `quiet` seconds. `Incident.open`
handles it by the playbook for prompt injection. A failing sink never affects the guarded call.

Source: MITRE ATLAS, AML.T0051 (LLM Prompt Injection).
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from mlsecops._choices import checked, number
from mlsecops._repr import concise_repr
from mlsecops.findings import Alert, Severity, Sink

RULE: Final = "prompt-injection"
ATLAS: Final = "AML.T0051"
_MAX_CLIENTS: Final = 10_000  # clients; chosen: about 2 MB; the oldest may alert again early


@concise_repr("_name", "_digest", "_sinks")
class Alarm:
    """Sends alerts of prompt injection to sinks, at most one a client in a while.

    Args:
        name: Name of the guarded application; the alert's `monitor`.
        sinks: Callables that take an `Alert`.
        digest: `"sha256:<hex>"` of the model, so that an incident can isolate it.
        quiet: Seconds between two alerts of a client, ≥ 0.
        clock: Returns the time, timezone-aware.

    Raises:
        UsageError: `quiet` is negative or not finite.

    Examples:
        >>> alerts = []
        >>> alarm = Alarm("chat", sinks=[alerts.append])
        >>> about = {"client": "eve", "reading": 0.9, "threshold": 0.5, "severity": Severity.HIGH}
        >>> alarm.raise_("an injection", **about) is alerts[0], alarm.raise_("again", **about)
        (True, None)
    """

    @checked
    def __init__(
        self,
        name: str,
        *,
        sinks: Iterable[Sink] = (),
        digest: str | None = None,
        quiet: float = 60.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._sinks = tuple(sinks)
        number("quiet", quiet, "seconds from 0 on", lambda seconds: seconds >= 0)
        self._digest = digest
        self._quiet = quiet
        self._clock = clock
        self._last_alert: OrderedDict[str | None, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def raise_(
        self,
        message: str,
        *,
        client: str | None,
        reading: float,
        threshold: float,
        severity: Severity,
    ) -> Alert | None:
        """Send an alert to the sinks and return it, unless the client had one in `quiet` seconds.

        Args:
            message: One sentence for the person on call, without text of a prompt.
            client: The caller, or None.
            reading: The measured score.
            threshold: The score that it exceeded.
            severity: Severity of the alert.
        """
        at = self._clock()
        if not self._sinks or not self._due(client, at):
            return None
        alert = Alert(
            rule=RULE,
            monitor=self._name,
            client=client,
            digest=self._digest,
            reading=reading,
            threshold=threshold,
            window="1 call",
            severity=severity,
            atlas=ATLAS,
            message=message,
            at=at,
        )
        for sink in self._sinks:
            with contextlib.suppress(Exception):
                sink(alert)
        return alert

    def _due(self, client: str | None, at: datetime) -> bool:
        with self._lock:
            last = self._last_alert.get(client)
            if last is not None and (at - last).total_seconds() < self._quiet:
                return False
            self._last_alert[client] = at
            self._last_alert.move_to_end(client)
            if len(self._last_alert) > _MAX_CLIENTS:
                self._last_alert.popitem(last=False)
            return True
