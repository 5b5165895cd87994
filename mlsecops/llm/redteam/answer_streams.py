"""Streamed answers of a language model, joined piece by piece.

texts, chunks of a chat completion, events of a response or of an Anthropic message → `Answer`, or
`MalformedAnswer` if the stream ended before the answer did.

Source: OpenAI API reference, "Chat Completions" and "Responses", streaming; Anthropic API
reference, "Streaming Messages".
"""

from __future__ import annotations

from typing import Any

from mlsecops.llm.redteam.answers import (
    Answer,
    MalformedAnswer,
    ToolRequest,
    arguments_text,
    built,
    member,
    read_answer,
)

__all__ = ["AnswerStream", "ServiceError"]


class ServiceError(Exception):
    """An error that a service reports in the middle of a stream; `error` is its description."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(member(error, "message") or error))
        self.error = error


class AnswerStream:
    """An answer that grows by the pieces of a stream.

    Examples:
        >>> stream = AnswerStream()
        >>> for piece in ("I cannot ", "help with that."):
        ...     stream.add(piece)
        >>> stream.answer().text
        'I cannot help with that.'
    """

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}
        self._texts: list[str] = []
        self._calls: dict[Any, list[str]] = {}
        self._reason: Any = None
        self._events = self._ended = False
        self._whole: Answer | None = None

    def add(self, piece: Any) -> None:
        """Take the next piece; raises `ServiceError` or `MalformedAnswer`."""
        if isinstance(piece, str):
            self._texts.append(piece)
            return
        kind = member(piece, "type")
        if member(piece, "error") and kind in {None, "error"}:
            raise ServiceError(member(piece, "error"))
        self._count(member(piece, "usage"))
        if member(piece, "choices") is not None:
            self._chunk(piece)
        elif isinstance(kind, str) and (kind.startswith("response.") or kind == "error"):
            self._response(kind, piece)
        elif isinstance(kind, str) and kind.startswith(("message_", "content_block_", "ping")):
            self._message(kind, piece)
        else:
            self._texts.append(read_answer(piece).text)

    def end(self) -> None:
        """Note the service's mark of the end."""
        self._ended = True

    def answer(self) -> Answer:
        """The joined answer; raises `MalformedAnswer` if its end is missing."""
        if self._whole is not None:
            return self._whole
        if self._events and not self._ended and self._reason is None:
            raise MalformedAnswer("its stream ended before the answer did")
        if not self._events and not self._texts:
            raise MalformedAnswer("its stream has no pieces")
        calls = tuple(
            ToolRequest(name=name, arguments="".join(parts))
            for name, *parts in self._calls.values()
        )
        return built("".join(self._texts), calls, self._reason)

    def _count(self, usage: Any) -> None:
        for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
            value = member(usage, name)
            if value is not None:
                self.usage[name] = value

    def _chunk(self, piece: Any) -> None:
        self._events = True
        choices = member(piece, "choices")
        if not choices:
            return
        delta = member(choices[0], "delta") or member(choices[0], "message")
        for name in ("content", "refusal"):
            said = member(delta, name)
            if isinstance(said, str):
                self._texts.append(said)
        for call in member(delta, "tool_calls") or ():
            function = member(call, "function")
            self._called(
                member(call, "index"), member(function, "name"), member(function, "arguments")
            )
        self._reason = member(choices[0], "finish_reason") or self._reason

    def _called(self, key: Any, name: Any, arguments: Any) -> None:
        known = self._calls.setdefault(key, [""])
        known[0] = known[0] or str(name or "")
        known.append(arguments_text(arguments))

    def _response(self, kind: str, piece: Any) -> None:
        """Take an event of a response; its last one holds the whole."""
        self._events = True
        if kind in {"response.output_text.delta", "response.refusal.delta"}:
            self._texts.append(str(member(piece, "delta") or ""))
        elif kind == "error":
            raise ServiceError(piece)
        elif kind in {"response.completed", "response.incomplete", "response.failed"}:
            whole = member(piece, "response")
            self._count(member(whole, "usage"))
            if kind == "response.failed" and member(whole, "error"):
                raise ServiceError(member(whole, "error"))
            self._whole = read_answer(whole)

    def _message(self, kind: str, piece: Any) -> None:
        """Take an event of an Anthropic message."""
        self._events = True
        delta, index = member(piece, "delta"), member(piece, "index")
        if kind == "message_start":
            self._count(member(member(piece, "message"), "usage"))
        elif kind == "content_block_start":
            block = member(piece, "content_block")
            if member(block, "type") == "tool_use":
                self._called(index, member(block, "name"), "")
            elif member(block, "type") == "text":
                self._texts.append(str(member(block, "text") or ""))
        elif kind == "content_block_delta":
            if member(delta, "type") == "text_delta":
                self._texts.append(str(member(delta, "text") or ""))
            elif member(delta, "type") == "input_json_delta":
                self._called(index, "", member(delta, "partial_json"))
        elif kind == "message_delta":
            self._reason = member(delta, "stop_reason") or self._reason
        elif kind == "message_stop":
            self._ended = True
