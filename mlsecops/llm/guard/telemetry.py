"""What guarding a language model tells OpenTelemetry: ONE table of names.

Names, counts, outcomes and digests of texts; never a text. A digest lets two records be joined; of
a text that can be guessed it confirms the guess. Whoever installs an SDK sees it; without one every
call here does nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

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
    "tell",
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

_COUNTERS: Final = {
    CHECKS: ("{prompt}", "Prompts that a guard looked at, by outcome (pass, flag, refuse, error)."),
    TOOL_CALLS: ("{call}", "Calls of guarded tools, by outcome (allowed, confirmed, denied)."),
    TAINTS: ("{text}", "Untrusted texts that entered a session, by source."),
}


def digest_of(text: str) -> str:
    """`"sha256:<hex>"` of a text, half surrogate pairs included."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def tell(
    counter: str, labels: Mapping[str, str], *, event: str | None = None, **facts: Any
) -> None:
    """Count something, and add an event to the span that is current.

    Args:
        counter: Which counter of the table.
        labels: Its attributes: few values each.
        event: Name of the event, or None for none.
        facts: Attributes of the event; an underscore in a name stands for a dot.
    """
    with contextlib.suppress(Exception):  # telemetry's own fault must not become the call's
        _counters()[counter].add(1, dict(labels))
    if event is not None:
        with contextlib.suppress(Exception):  # as above
            from opentelemetry import trace  # noqa: PLC0415 - the fuzzing side needs none

            named = {f"mlsecops.llm.{key.replace('_', '.')}": value for key, value in facts.items()}
            trace.get_current_span().add_event(event, {**labels, **named})


@cache
def _counters() -> dict[str, Any]:
    """Made once: instruments of one name that are made twice lose data."""
    from opentelemetry import metrics  # noqa: PLC0415 - as above

    meter = metrics.get_meter(SCOPE, VERSION)
    return {name: meter.create_counter(name, *told) for name, told in _COUNTERS.items()}
