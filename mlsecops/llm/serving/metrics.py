"""OpenTelemetry metrics and span of one request to a language model.

request, `ObservedAnswer`, seconds → histograms, counters, a span `chat MODEL`

Names of the conventions begin with `gen_ai.`; what these have no name for begins with
`mlsecops.llm.`. Recorded are numbers, names and digests; texts only where content is asked for.

Source: OpenTelemetry semantic conventions for generative AI 1.37, "Metrics" (client and server) and
"Spans": names, units and attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mlsecops._telemetry import Instrument, Telemetry
from mlsecops.llm.redteam.telemetry import SECONDS, TOKEN_COUNTS, TOKENS
from mlsecops.llm.serving.observed_answer import UNREAD, ObservedAnswer
from mlsecops.llm.serving.usage import TokenPrice

__all__ = ["INSTRUMENTS", "MeasuredRequest", "Role", "record", "start_span"]

Role: TypeAlias = Literal["server", "client"]

COST: Final = "mlsecops.llm.cost"
ANSWERS: Final = "mlsecops.llm.answers"
REFUSALS: Final = "mlsecops.llm.refusals"
_LONGEST: Final = 128  # characters of a service's word; chosen: names of models are shorter
DURATION: Final[dict[Role, str]] = {
    "server": "gen_ai.server.request.duration",
    "client": "gen_ai.client.operation.duration",
}
FIRST: Final[dict[Role, str]] = {
    "server": "gen_ai.server.time_to_first_token",
    "client": "gen_ai.client.operation.time_to_first_chunk",
}
EACH: Final[dict[Role, str]] = {
    "server": "gen_ai.server.time_per_output_token",
    "client": "gen_ai.client.operation.time_per_output_chunk",
}
_FIRST_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
)  # fmt: skip
"""Bounds of buckets in seconds; of the conventions, as the next."""
_EACH_S: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5
)  # fmt: skip
INSTRUMENTS: Final = {
    **{
        name: Instrument("histogram", "s", "Duration of a request.", SECONDS)
        for name in DURATION.values()
    },
    **{
        name: Instrument("histogram", "s", "Time from the request to the first token.", _FIRST_S)
        for name in FIRST.values()
    },
    **{
        name: Instrument("histogram", "s", "Time for each token after the first.", _EACH_S)
        for name in EACH.values()
    },
    TOKENS: Instrument(
        "histogram", "{token}", "Tokens of prompts and answers, as reported.", TOKEN_COUNTS
    ),
    COST: Instrument("counter", "1", "Cost of requests, in the currency of the attribute."),
    ANSWERS: Instrument(
        "counter", "{answer}", "Answers by reason of their end, and by what of them is measured."
    ),
    REFUSALS: Instrument(
        "counter", "{answer}", "Answers that the model or a filter of the service refused."
    ),
}
_telemetry: Final = Telemetry("mlsecops.llm.serving", "1", INSTRUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRequest:
    """What is known of a request before its answer; `labels` are of the conventions."""

    name: str
    role: Role
    labels: Mapping[str, str]
    prices: Mapping[str, TokenPrice]
    began: float
    span: Any = None


def start_span(name: str, labels: Mapping[str, str], facts: Mapping[str, str]) -> Any:
    """A span that is not current, so that a stream may end in another context; None if it fails."""
    with _telemetry.swallowed:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - imported at the first use

        model = labels["gen_ai.request.model"]
        given = {**labels, **facts, "mlsecops.monitor": name}
        return _telemetry.tracer().start_span(
            f"chat {model}", kind=SpanKind.CLIENT, attributes=given
        )
    return None


def record(request: MeasuredRequest, answer: ObservedAnswer, *, ended: float, error: str) -> None:
    """Record a request that ended; `error` is the kind of exception, or `""`."""
    labels = dict(request.labels)
    if answer.model:
        labels["gen_ai.response.model"] = answer.model[:_LONGEST]
    failed = {"error.type": error} if error else {}
    measure, role = _telemetry.measure, request.role
    measure(DURATION[role], ended - request.began, {**labels, **failed})
    if not error:
        if answer.first is not None:
            measure(FIRST[role], answer.first - request.began, labels)
        _pace(request, answer, labels)
        _tokens(request, answer, labels)
    _end(request, answer, failed)


def _pace(request: MeasuredRequest, answer: ObservedAnswer, labels: Mapping[str, str]) -> None:
    """Mean time for each further token of a server, or piece of a client."""
    steps = answer.pieces - 1
    if request.role == "server" and answer.usage.output is not None:
        steps = answer.usage.output - 1
    if answer.pieces > 1 and steps > 0 and answer.first is not None and answer.last is not None:
        _telemetry.measure(EACH[request.role], (answer.last - answer.first) / steps, labels)


def _tokens(request: MeasuredRequest, answer: ObservedAnswer, labels: Mapping[str, str]) -> None:
    """Tokens, cost, and an answer by whether these are known."""
    used = answer.usage
    for kind, count in (("input", used.input), ("output", used.output)):
        if count is not None:
            _telemetry.measure(TOKENS, count, {**labels, "gen_ai.token.type": kind})
    price = request.prices.get(answer.model) or request.prices.get(labels["gen_ai.request.model"])
    cost = None if price is None else price.cost(used)
    if price is not None and cost is not None:
        _telemetry.measure(COST, cost, {**labels, "mlsecops.llm.currency": price.currency})
    reported = used.input is not None and used.output is not None
    known = "cost" if cost is not None else "tokens" if reported else "none"
    reason = answer.finish[:_LONGEST] or (UNREAD if answer.unread else "unknown")
    ended = {"mlsecops.llm.finish_reason": reason, "mlsecops.llm.measured": known}
    _telemetry.measure(ANSWERS, 1, {**labels, **ended})
    if answer.refused:
        _telemetry.measure(REFUSALS, 1, labels)


def _end(request: MeasuredRequest, answer: ObservedAnswer, failed: Mapping[str, str]) -> None:
    if request.span is None:
        return
    with _telemetry.swallowed:
        facts: dict[str, Any] = {
            "gen_ai.response.id": answer.id,
            "gen_ai.response.model": answer.model,
            "gen_ai.usage.input_tokens": answer.usage.input,
            "gen_ai.usage.output_tokens": answer.usage.output,
            "mlsecops.llm.answer.digest": answer.digest,
            **failed,
        }
        if answer.finish:
            facts["gen_ai.response.finish_reasons"] = (answer.finish,)
        if answer.first is not None:
            facts["gen_ai.response.time_to_first_chunk"] = answer.first - request.began
        if answer.text is not None:
            said = [{"role": "assistant", "parts": [{"type": "text", "content": answer.text}]}]
            facts["gen_ai.output.messages"] = json.dumps(said, ensure_ascii=False)
        request.span.set_attributes({k: v for k, v in facts.items() if v not in (None, "")})
    with _telemetry.swallowed:
        request.span.end()
