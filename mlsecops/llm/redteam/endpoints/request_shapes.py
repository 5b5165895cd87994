"""Request shapes of model endpoints: chat completions, responses and Anthropic messages.

URL → `RequestShape` by the end of its path; attempt → body and headers of a request.

Source: OpenAI API reference, "Chat Completions" and "Responses"; Anthropic API reference,
"Messages"; the attempts are written in the shape of chat completions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, UsageError

__all__ = ["RequestShape", "SystemRole", "as_system", "shape_of"]

Messages: TypeAlias = Sequence[Mapping[str, Any]]
SystemRole: TypeAlias = Literal["system", "developer", "user"]
_VERSION: Final = "2023-06-01"  # value of the header anthropic-version; Anthropic API reference


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """How an API takes a conversation.

    Attributes:
        name: End of its path.
        body: Makes the members of a request from messages and tools.
        limit: Member for the most tokens of an answer.
        bearer: Whether a key is sent as a bearer token, else in `x-api-key`.
        headers: Headers that it demands.
        streaming: Members that ask for a stream.
    """

    name: str
    body: Callable[[Messages, Messages], dict[str, Any]]
    limit: str
    bearer: bool = True
    headers: Mapping[str, str]
    streaming: Mapping[str, Any]


def as_system(messages: Messages, role: SystemRole) -> list[dict[str, Any]]:
    """Messages for a model whose system message has another role, or that takes none."""
    plain = [dict(each) for each in messages]
    if role == "system" or not plain or plain[0]["role"] != "system":
        return plain
    first, *rest = plain
    if role == "developer":
        return [{**first, "role": "developer"}, *rest]
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{**first, "role": "user"}, *rest]


def _chat(messages: Messages, tools: Messages) -> dict[str, Any]:
    return {
        "messages": [dict(each) for each in messages],
        **({"tools": [dict(each) for each in tools]} if tools else {}),
    }


def _responses(messages: Messages, tools: Messages) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for each in messages:
        if each["role"] == "tool":
            items.append({
                "type": "function_call_output", "call_id": each["tool_call_id"],
                "output": each["content"],
            })  # fmt: skip
            continue
        if each["content"]:
            items.append({"role": each["role"], "content": each["content"]})
        calls = each.get("tool_calls", ())
        items += [{"type": "function_call", "call_id": x["id"], **x["function"]} for x in calls]
    functions = [{"type": "function", **tool["function"]} for tool in tools]
    return {"input": items, "store": False, **({"tools": functions} if functions else {})}


def _messages(messages: Messages, tools: Messages) -> dict[str, Any]:
    system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
    turns = [_turn(each) for each in messages if each["role"] != "system"]
    functions = [_anthropic_tool(tool["function"]) for tool in tools]
    return {
        "messages": turns,
        **({"system": system} if system else {}),
        **({"tools": functions} if functions else {}),
    }


def _arguments(text: str) -> dict[str, Any]:
    """Arguments of a tool call; none where the model wrote no JSON object."""
    try:
        return parse_object(text or "{}", what="arguments", error=FormatRefused)
    except FormatRefused:
        return {}


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        result = {
            "type": "tool_result", "tool_use_id": message["tool_call_id"],
            "content": message["content"],
        }  # fmt: skip
        return {"role": "user", "content": [result]}
    if not message.get("tool_calls"):
        return {"role": message["role"], "content": message["content"]}
    blocks: list[dict[str, Any]] = [
        {
            "type": "tool_use", "id": call["id"], "name": call["function"]["name"],
            "input": _arguments(call["function"]["arguments"]),
        }
        for call in message["tool_calls"]
    ]  # fmt: skip
    said = [{"type": "text", "text": message["content"]}] if message["content"] else []
    return {"role": message["role"], "content": [*said, *blocks]}


def _anthropic_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "input_schema": function.get("parameters", {"type": "object"}),
    }


_SHAPES: Final = {
    each.name: each
    for each in (
        RequestShape(
            name="chat/completions", body=_chat, limit="max_tokens", headers={},
            streaming={"stream": True, "stream_options": {"include_usage": True}},
        ),
        RequestShape(
            name="responses", body=_responses, limit="max_output_tokens", headers={},
            streaming={"stream": True},
        ),
        RequestShape(
            name="messages", body=_messages, limit="max_tokens", bearer=False,
            headers={"anthropic-version": _VERSION}, streaming={"stream": True},
        ),
    )
}  # fmt: skip


def shape_named(name: str) -> RequestShape:
    """The shape of a name, such as `"responses"`; raises `UsageError` without one."""
    if name not in _SHAPES:
        raise UsageError(f"shape: expected one of {', '.join(_SHAPES)}, got {name!r}")
    return _SHAPES[name]


def shape_of(url: str) -> tuple[RequestShape, str]:
    """The shape that a URL's end names, chat completions by default, and the whole URL.

    Examples:
        >>> shape_of("https://api.example/v1/messages")[0].name
        'messages'
        >>> shape_of("https://api.example")[1]
        'https://api.example/v1/chat/completions'
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    for shape in _SHAPES.values():
        if path.endswith(f"/{shape.name}"):
            return shape, urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    path = f"{path or '/v1'}/chat/completions"
    whole = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    return _SHAPES["chat/completions"], whole
