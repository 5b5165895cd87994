"""Parser for answers of a language model, whatever client or service gave them.

text, message, chat completion, response or Anthropic message, as mapping or object → `Answer` with
text, tool calls and how it ended, or `MalformedAnswer` with the reason. Reasoning is no answer.

Source: OpenAI API reference, "Chat Completions" and "Responses"; Anthropic API reference,
"Messages".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._repr import concise_repr
from mlsecops.llm.redteam.reasoning import without_reasoning

LENGTH: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"}
)
"""Reasons to end an answer before it is complete, in lower case."""
FILTERED: Final = frozenset(
    {
        "content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety",
        "blocklist", "prohibited_content", "recitation", "spii", "sensitive",
    }
)  # fmt: skip
"""Reasons of a service that stopped an answer by its content, in lower case."""
_REASONING: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})


class MalformedAnswer(Exception):
    """An answer of another shape; the message gives the difference."""


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
        text: Its text, that of a refusal included; reasoning is left out.
        tool_calls: Requested tool calls.
        cut_off: Whether it ended before it was complete.
        blocked: Whether a filter of the service stopped it.
    """

    text: str
    tool_calls: tuple[ToolRequest, ...] = ()
    cut_off: bool = False
    blocked: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says and does nothing."""
        shown = any(each.isprintable() and not each.isspace() for each in self.text)
        return not (shown or self.tool_calls)


def read_answer(value: Any) -> Answer:
    """Parse a text, a message, a chat completion, a response or an Anthropic message.

    Raises:
        MalformedAnswer: It has another shape.

    Examples:
        >>> read_answer({"choices": [{"message": {"content": "Paris"}}]}).text
        'Paris'
        >>> read_answer({"role": "assistant", "content": "<think>Hm.</think>Paris"}).text
        'Paris'
    """
    if isinstance(value, str):
        return built(value, (), None)
    if member(value, "choices") is not None:
        return completion(value)
    if isinstance(member(value, "output"), (list, tuple)):
        return _response(value)
    return message(value)


def completion(value: Any) -> Answer:
    """Parse a chat completion; raises `MalformedAnswer` for another shape."""
    choices = member(value, "choices")
    if not isinstance(choices, (list, tuple)) or not choices:
        raise MalformedAnswer("it has no choices")
    return message(member(choices[0], "message"), ended=member(choices[0], "finish_reason"))


def message(value: Any, *, ended: Any = None) -> Answer:
    """Parse an assistant's message; raises `MalformedAnswer` for another shape."""
    if value is None or isinstance(value, (str, int, float, list, tuple)):
        raise MalformedAnswer("its first choice has no message")
    content, refusal = member(value, "content"), member(value, "refusal")
    calls = (*_calls(member(value, "tool_calls")), *_called(content))
    reason = ended or member(value, "stop_reason") or _langchain_reason(value)
    if content is None and refusal is None and not calls and reason in {None, "stop", "end_turn"}:
        known = isinstance(value, Mapping) or hasattr(value, "content")
        raise MalformedAnswer(
            "its message has no content"
            if known
            else f"expected a str or a message, got {type(value).__name__}"
        )
    words = [_text(content), _text(refusal)]
    return built("\n".join(word for word in words if word), calls, reason)


def built(text: str, calls: tuple[ToolRequest, ...], reason: Any) -> Answer:
    """An answer without reasoning, and with the service's reason for its end."""
    said, unfinished = without_reasoning(text)
    why = str(reason or "").lower()
    return Answer(
        text=said, tool_calls=calls, cut_off=unfinished or why in LENGTH, blocked=why in FILTERED
    )


def member(value: Any, name: str) -> Any:
    """Member of a mapping or attribute of an object; None without it."""
    if isinstance(value, Mapping):
        return value.get(name)
    if value is None or isinstance(value, (str, bytes, int, float, list, tuple)):
        return None
    return getattr(value, name, None)


def arguments_text(value: Any) -> str:
    """Arguments of a call as text."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=str)


def _langchain_reason(value: Any) -> Any:
    data = member(value, "response_metadata")
    return member(data, "finish_reason") or member(data, "stop_reason")


def _response(value: Any) -> Answer:
    """Parse an answer of OpenAI's responses API."""
    texts: list[str] = []
    calls: list[ToolRequest] = []
    for item in member(value, "output"):
        kind = member(item, "type")
        if kind == "message":
            texts.append(_text(member(item, "content")))
        elif kind == "function_call":
            calls.append(_call(item))
    status, failed = member(value, "status"), member(value, "error")
    reason = member(member(value, "incomplete_details"), "reason")
    if status == "failed" or failed:
        why = str(member(failed, "message") or "no reason")
        raise MalformedAnswer(f"the response failed: {why[:120]}")
    if status == "incomplete" and reason is None:
        reason = "length"
    return built("\n".join(text for text in texts if text), tuple(calls), reason)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, (list, tuple)):
        raise MalformedAnswer(f"its content is a {type(content).__name__}")
    return "\n".join(_words(content))


def _words(content: Any) -> Iterator[str]:
    for part in content:
        kind = member(part, "type")
        if isinstance(part, str):
            yield part
        elif kind in {*_REASONING, "tool_use", "server_tool_use"}:
            continue
        else:
            said = member(part, "text")
            said = member(part, "refusal") if said is None else said
            if not isinstance(said, str):
                raise MalformedAnswer("its content has parts that are no text")
            yield said


def _called(content: Any) -> tuple[ToolRequest, ...]:
    """Tool calls among the blocks of an Anthropic message."""
    blocks = content if isinstance(content, (list, tuple)) else ()
    return tuple(_call(each) for each in blocks if member(each, "type") == "tool_use")


def _calls(value: Any) -> tuple[ToolRequest, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise MalformedAnswer(f"its tool calls are a {type(value).__name__}")
    return tuple(_call(each) for each in value)


def _call(value: Any) -> ToolRequest:
    """Parse a call: `{"function": {…}}`, or name and arguments as the other services have it."""
    function = member(value, "function") or value
    name = member(function, "name")
    if not isinstance(name, str):
        raise MalformedAnswer("one of its tool calls names no function")
    given = [member(function, each) for each in ("arguments", "args", "input")]
    return ToolRequest(
        name=name, arguments=arguments_text(next((each for each in given if each is not None), ""))
    )
