"""Spans of sampled calls.

start of a call → Spanned → outcome and type of the exception → span that ends

A span holds no input, answer or message of an exception, which may quote the input.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from mlsecops.monitoring.telemetry import metrics as telemetry


class Spanned:
    """A started span and the context it replaced.

    Args:
        span: The span.
        token: Restores the context, or None if the span is no parent.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span, token: Token[Any] | None) -> None:
        self._span = span
        self._token = token

    def end(self, outcome: str, error: str) -> None:
        """End the span.

        Args:
            outcome: `"ok"` or `"error"`.
            error: Name of the exception's type, or "".
        """
        if self._token is not None:
            context.detach(self._token)
        self._span.set_attribute(telemetry.SPAN_OUTCOME, outcome)
        if error:
            self._span.set_attribute(telemetry.ERROR_TYPE, error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def start_span(monitor: str, digest: str | None, *, current: bool) -> Spanned:
    """Start a span for a call; without an SDK it records nothing.

    Args:
        monitor: The monitor's name.
        digest: `"sha256:<hex>"` of the model, or None.
        current: Whether it becomes the parent of spans inside the call.
    """
    attributes = {telemetry.MONITOR: monitor}
    if digest is not None:
        attributes[telemetry.DIGEST] = digest
    tracer = telemetry.TELEMETRY.tracer()
    span = tracer.start_span(telemetry.SPAN, kind=SpanKind.INTERNAL, attributes=attributes)
    token = context.attach(trace.set_span_in_context(span)) if current else None
    return Spanned(span, token)
