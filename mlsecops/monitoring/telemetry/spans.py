"""Spans of sampled calls.

start of a call → Spanned → outcome and type of the exception → span that ends

A span holds no input, answer or message of an exception, which may quote the input.
"""

from __future__ import annotations

from contextvars import Token
from dataclasses import dataclass
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from mlsecops.monitoring.telemetry import metrics as telemetry


@dataclass(slots=True)
class Spanned:
    """A started span, and the token of the context it replaced, if it is a parent."""

    span: Span
    token: Token[Any] | None

    def end(self, outcome: str, error: str) -> None:
        """End the span; `error` is the name of the exception's type, or empty."""
        if self.token is not None:
            context.detach(self.token)
        self.span.set_attribute(telemetry.SPAN_OUTCOME, outcome)
        if error:
            self.span.set_attribute(telemetry.ERROR_TYPE, error)
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


def start_span(monitor: str, digest: str | None, *, current: bool) -> Spanned:
    """Start a span for a call, as the parent of further ones if `current`; no-op without an SDK."""
    attributes = {telemetry.MONITOR: monitor}
    if digest is not None:
        attributes[telemetry.DIGEST] = digest
    tracer = telemetry.TELEMETRY.tracer()
    span = tracer.start_span(telemetry.SPAN, kind=SpanKind.INTERNAL, attributes=attributes)
    token = context.attach(trace.set_span_in_context(span)) if current else None
    return Spanned(span, token)
