"""Parser for answers of a language model.

untrusted chat completion → `Answer` with text and tool calls, or `MalformedAnswer` with the reason.

Source: OpenAI API reference, "Chat Completions", the chat completion object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsecops._repr import concise_repr


class MalformedAnswer(Exception):
    """An answer without the shape of a chat completion; the message gives the difference."""


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A tool call that the model requests.

    Attributes:
        name: Name of the function.
        arguments: Arguments as the model wrote them, usually JSON.
    """

    name: str
    arguments: str


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of a model.

    Attributes:
        text: Its text, that of a refusal included.
        tool_calls: Requested tool calls.
        cut_off: Whether it reached the token limit.
    """

    text: str
    tool_calls: tuple[ToolRequest, ...] = ()
    cut_off: bool = False


def completion(value: Any) -> Answer:
    """Parse the body of a chat completion.

    Raises:
        MalformedAnswer: It has another shape.

    Examples:
        >>> completion({"choices": [{"message": {"content": "Paris"}}]}).text
        'Paris'
    """
    choices = value.get("choices") if isinstance(value, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise MalformedAnswer("it has no choices")
    first = choices[0]
    return message(first.get("message"), cut_off=first.get("finish_reason") == "length")


def message(value: Any, *, cut_off: bool = False) -> Answer:
    """Parse an assistant's message (a mapping); raises `MalformedAnswer` for another shape."""
    if not isinstance(value, Mapping):
        raise MalformedAnswer("its first choice has no message")
    content, refusal = value.get("content"), value.get("refusal")
    calls = _calls(value.get("tool_calls"))
    if content is None and refusal is None and not calls and not cut_off:
        raise MalformedAnswer("its message has no content")
    words = [_text(content), _text(refusal)]
    return Answer(text="\n".join(word for word in words if word), tool_calls=calls, cut_off=cut_off)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise MalformedAnswer(f"its content is a {type(content).__name__}")
    parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    words = [part for part in parts if isinstance(part, str)]
    if len(words) < len(parts):
        raise MalformedAnswer("its content has parts that are no text")
    return "\n".join(words)


def _calls(value: Any) -> tuple[ToolRequest, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise MalformedAnswer(f"its tool calls are a {type(value).__name__}")
    return tuple(_call(each) for each in value)


def _call(value: Any) -> ToolRequest:
    function = value.get("function") if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise MalformedAnswer("one of its tool calls names no function")
    arguments = function.get("arguments", "")
    return ToolRequest(
        name=name, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments)
    )
