"""OpenTelemetry signals of guarding a language model: three counters and three events.

outcome of a check, tool call or tainted text → counter, and an event on the current span

Recorded are names, numbers, outcomes and digests of texts, never a text. A digest joins two
records; of a text that can be guessed it confirms the guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from mlsecops._telemetry import Instrument, Telemetry

__all__ = [
    "CHECKS",
    "FLAGGED",
    "SCOPE",
    "TAINTED",
    "TAINTS",
    "TOOL_CALLS",
    "TOOL_DENIED",
    "VERSION",
    "digest_of",
    "record",
]

SCOPE: Final = "mlsecops.llm"
VERSION: Final = "1"

# Events.
FLAGGED: Final = "mlsecops.llm.prompt.flagged"
TAINTED: Final = "mlsecops.llm.session.tainted"
TOOL_DENIED: Final = "mlsecops.llm.tool.denied"

# Counters.
CHECKS: Final = "mlsecops.llm.prompt.checks"
TOOL_CALLS: Final = "mlsecops.llm.tool.calls"
TAINTS: Final = "mlsecops.llm.session.taints"

_telemetry: Final = Telemetry(
    SCOPE,
    VERSION,
    {
        CHECKS: Instrument(
            "counter",
            "{prompt}",
            "Prompts that a guard looked at, by outcome (pass, flag, refuse, error).",
        ),
        TOOL_CALLS: Instrument(
            "counter",
            "{call}",
            "Calls of guarded tools, by outcome (allowed, confirmed, denied).",
        ),
        TAINTS: Instrument(
            "counter", "{text}", "Untrusted texts that entered a session, by source."
        ),
    },
)


def digest_of(text: str) -> str:
    """`"sha256:<hex>"` of a text, half surrogate pairs included.

    Examples:
        >>> digest_of("hello")[:15]
        'sha256:2cf24dba'
    """
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def record(
    counter: str, labels: Mapping[str, str], *, event: str | None = None, **facts: Any
) -> None:
    """Add one to a counter of the table, and add an event to the current span.

    `labels` have few values each; an underscore in the name of a fact becomes a dot.
    """
    _telemetry.measure(counter, 1, labels)
    if event is not None:
        named = {f"mlsecops.llm.{key.replace('_', '.')}": value for key, value in facts.items()}
        _telemetry.event(event, {**labels, **named})
