"""What did a model answer?

The message of a chat completion comes in, untrusted; text and tool calls come out, or the reason
why it cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "ToolRequest", "Unreadable", "completion", "message"]


class Unreadable(Exception):
    """An answer has another shape than that of a chat completion; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A function that the model wants called.

    Attributes:
        name: Of the function.
        arguments: As the model wrote them; JSON if it keeps to the form.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said.

    Attributes:
        text: Its words, with those of a refusal.
        tool_calls: What it wants called.
        cut_off: Whether it had more to say than it was allowed.
    """

    text: str
    tool_calls: tuple[ToolRequest, ...] = ()
    cut_off: bool = False


def completion(value: Any) -> Answer:
    """Read the body of a chat completion.

    Raises:
        Unreadable: It has another shape.

    Source:
        OpenAI API reference, "Chat Completions", the chat completion object.
    """
    choices = value.get("choices") if isinstance(value, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Unreadable("it has no choices")
    first = choices[0]
    return message(first.get("message"), cut_off=first.get("finish_reason") == "length")


def message(value: Any, *, cut_off: bool = False) -> Answer:
    """Read a message of an assistant.

    Args:
        value: With `content`, `refusal` or `tool_calls`.
        cut_off: Whether it had more to say.

    Raises:
        Unreadable: It has another shape, or says nothing at all.
    """
    if not isinstance(value, Mapping):
        raise Unreadable("its first choice has no message")
    content, refusal = value.get("content"), value.get("refusal")
    calls = _calls(value.get("tool_calls"))
    if content is None and refusal is None and not calls and not cut_off:
        raise Unreadable("its message has no content")
    words = [_text(content), _text(refusal)]
    return Answer(text="\n".join(word for word in words if word), tool_calls=calls, cut_off=cut_off)


def _text(content: Any) -> str:
    """The words of a content, which is a text or a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Unreadable(f"its content is a {type(content).__name__}")
    parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    words = [part for part in parts if isinstance(part, str)]
    if len(words) < len(parts):
        raise Unreadable("its content has parts that are no text")
    return "\n".join(words)


def _calls(value: Any) -> tuple[ToolRequest, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Unreadable(f"its tool calls are a {type(value).__name__}")
    return tuple(_call(each) for each in value)


def _call(value: Any) -> ToolRequest:
    function = value.get("function") if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise Unreadable("one of its tool calls names no function")
    arguments = function.get("arguments", "")
    return ToolRequest(
        name=name, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments)
    )
