"""OpenTelemetry metrics of requests to a model, by the conventions for generative AI.

request, its seconds and tokens → `gen_ai.client.operation.duration`, `gen_ai.client.token.usage`

Source: OpenTelemetry semantic conventions for generative AI 1.37, "Metrics": names, units, buckets
and attributes. No text of a prompt or an answer is recorded.
"""

from __future__ import annotations

from typing import Final

from mlsecops._telemetry import Instrument, Telemetry

__all__ = ["DURATION", "SECONDS", "TOKENS", "TOKEN_COUNTS", "record_request"]

DURATION: Final = "gen_ai.client.operation.duration"
TOKENS: Final = "gen_ai.client.token.usage"
SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""Bounds of buckets in seconds; of the conventions, as are those of tokens."""
TOKEN_COUNTS: Final = tuple(4.0**power for power in range(14))
_telemetry: Final = Telemetry(
    "mlsecops.llm.redteam",
    "1",
    {
        DURATION: Instrument("histogram", "s", "Duration of requests to a model.", SECONDS),
        TOKENS: Instrument("histogram", "{token}", "Tokens of prompts and answers.", TOKEN_COUNTS),
    },
)


def record_request(
    model: str, seconds: float, *, prompt: int, answer: int, failure: str | None
) -> None:
    """Record a request; `failure` is its status or kind of failure, None for none."""
    labels = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
    failed = {} if failure is None else {"error.type": failure}
    _telemetry.measure(DURATION, seconds, {**labels, **failed})
    if failure is None:
        _telemetry.measure(TOKENS, prompt, {**labels, "gen_ai.token.type": "input"})
        _telemetry.measure(TOKENS, answer, {**labels, "gen_ai.token.type": "output"})
