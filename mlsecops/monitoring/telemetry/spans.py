"""How a sampled call becomes a span: named and attributed by the table of `telemetry`.

A span says that a call happened and how it ended, never what it was given or answered: an
exception's message may quote its input, so only its type is recorded.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from mlsecops.monitoring.telemetry import metrics as telemetry

__all__ = ["Spanned", "start_span"]


class Spanned:
    """A span that was started, and the context it replaced.

    Args:
        span: The span.
        token: What restores the context, or None if the span is nobody's parent.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span, token: Token[Any] | None) -> None:
        self._span = span
        self._token = token

    def end(self, outcome: str, error: str) -> None:
        """Say how the call ended.

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


def start_span(tracer: Tracer, monitor: str, digest: str | None, *, current: bool) -> Spanned:
    """Start a span for a call.

    Args:
        tracer: Of OpenTelemetry; without an SDK the span records nothing.
        monitor: The monitor's name.
        digest: `"sha256:<hex>"` of the model, or None.
        current: Whether it becomes the parent of what the call does.
    """
    attributes = {telemetry.MONITOR: monitor}
    if digest is not None:
        attributes[telemetry.DIGEST] = digest
    span = tracer.start_span(telemetry.SPAN, kind=SpanKind.INTERNAL, attributes=attributes)
    token = context.attach(trace.set_span_in_context(span)) if current else None
    return Spanned(span, token)
