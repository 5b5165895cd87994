"""How is somebody told that a language model was attacked?

What happened goes in, an `Alert` of the technique AML.T0051 (LLM prompt injection) goes to every
sink, at most one for each client in a while. `Incident.open` handles it by the playbook for prompt
injection. A sink that fails is passed over: it must not decide whether a call goes on.

Source: MITRE ATLAS, AML.T0051 (LLM Prompt Injection).
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity, Sink

__all__ = ["ATLAS", "RULE", "Alarm"]

RULE: Final = "prompt-injection"
ATLAS: Final = "AML.T0051"
_REMEMBERED: Final = 10_000


class Alarm:
    """Tells sinks, and keeps quiet about a client for a while afterwards.

    Args:
        name: Of what is guarded; the alert's `monitor`.
        sinks: Callables that take an `Alert`.
        digest: `"sha256:<hex>"` of the model, so that an incident can isolate it.
        quiet: Seconds in which a client is told of once, ≥ 0.
        clock: Gives the time, timezone-aware.

    Raises:
        UsageError: `quiet` is negative or no number.
    """

    def __init__(
        self,
        name: str,
        *,
        sinks: Iterable[Sink] = (),
        digest: str | None = None,
        quiet: float = 60.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not (math.isfinite(quiet) and quiet >= 0):
            raise UsageError(f"quiet: expected seconds, 0 or more, got {quiet}")
        self._name = name
        self._sinks = tuple(sinks)
        self._digest = digest
        self._quiet = quiet
        self._clock = clock
        self._told: OrderedDict[str | None, datetime] = OrderedDict()
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
        """Tell the sinks, unless they were told of that client just now.

        Args:
            message: One sentence for whoever is on call; no text of a prompt.
            client: Who sent it, or None.
            reading: What was read.
            threshold: What it was compared with.
            severity: How much it matters.
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
            last = self._told.get(client)
            if last is not None and (at - last).total_seconds() < self._quiet:
                return False
            self._told[client] = at
            self._told.move_to_end(client)
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            return True
