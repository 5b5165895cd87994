"""Texts of a prompt, whatever client's messages hold them.

text, messages or blocks, as mappings or objects → texts of every role, in order; pictures, sounds
and files are not read as text

Source: OpenAI API reference, "Chat Completions" and "Responses" (content parts); Anthropic API
reference, "Messages" (content blocks).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlsecops.errors import InputRefused

__all__ = ["prompt_texts"]

_DEEPEST: Final = 12  # levels; chosen: a conversation of messages with tool results has 8
_LABELS: Final = frozenset({
    "role", "type", "name", "id", "call_id", "tool_call_id", "tool_use_id", "media_type", "format",
    "detail", "index", "status", "cache_control", "signature", "filename", "file_id", "mime_type",
})  # fmt: skip
"""Members that are no text of a message."""
_MEDIA: Final = frozenset({
    "image_url", "image", "input_audio", "audio", "video", "video_url", "file", "file_data",
    "file_url", "b64_json", "data", "source", "url", "inline_data", "bytes", "uri",
})  # fmt: skip
"""Members that can hold a picture, a sound or a file."""
_ENCODED: Final = re.compile(
    r"data:(?!text/)[\w.+/-]{0,80}[;,]|https?://\S*$|[A-Za-z0-9+/_=-]{32,}$"
)
_READ: Final = (
    "content", "text", "parts", "refusal", "tool_calls", "function", "arguments", "input", "args",
    "output", "thinking", "source",
)  # fmt: skip


def prompt_texts(inputs: Any) -> Iterator[str]:
    """Yield all texts of a prompt, of every role, since a client can forge roles.

    Raises:
        InputRefused: It is neither text nor messages, or is nested too deeply.

    Examples:
        >>> list(prompt_texts([{"content": "hi"}, {"role": "assistant", "content": None}]))
        ['hi']
    """
    if inputs is None:
        raise InputRefused("prompt: expected text or messages, got None")
    read = False
    for text in _texts(inputs, _DEEPEST):
        read = True
        if text is not None:
            yield text
    if not read:
        raise InputRefused("prompt: it has no text")


def _texts(inputs: Any, deepest: int) -> Iterator[str | None]:
    """Yield texts in order, and None for each picture, sound or file."""
    if deepest <= 0:
        raise InputRefused("prompt: its messages are nested too deeply; send a flat list")
    if isinstance(inputs, str):
        yield inputs
    elif isinstance(inputs, Mapping):
        if not inputs:
            raise InputRefused("prompt: a message has no text")
        yield from _members(inputs, deepest)
    elif isinstance(inputs, (list, tuple)):
        for each in inputs:
            yield from _texts(each, deepest - 1)
    else:
        yield from _members(_plain(inputs), deepest)


def _plain(value: Any) -> Mapping[str, Any]:
    """Members of a client's object."""
    dump = getattr(value, "model_dump", None)
    found = dump() if callable(dump) else None
    if isinstance(found, Mapping):
        return found
    members = {name: getattr(value, name) for name in _READ if hasattr(value, name)}
    if not members:
        raise InputRefused(f"prompt: expected text or messages, got {type(value).__name__}")
    kind = getattr(value, "type", None)
    return {**members, **({"type": kind} if isinstance(kind, str) else {})}


def _members(message: Mapping[Any, Any], deepest: int) -> Iterator[str | None]:
    for key, value in message.items():
        if key in _LABELS or value is None:
            continue
        if key in _MEDIA and _is_encoded(value):
            yield None
            continue
        if isinstance(value, (str, Mapping, list, tuple)):
            yield from _texts(value, deepest - 1) if value else ()
        elif key in {"content", "text"}:
            yield from _texts(value, deepest - 1) if hasattr(value, "__dict__") else _refused(value)
        elif hasattr(value, "model_dump") or any(hasattr(value, name) for name in _READ):
            yield from _texts(value, deepest - 1)


def _refused(value: Any) -> Iterator[str | None]:
    raise InputRefused(f"prompt: expected text or messages, got {type(value).__name__}")


def _is_encoded(value: Any) -> bool:
    """Whether a member holds the bytes or the address of a picture, a sound or a file."""
    if isinstance(value, (bytes, bytearray)):
        return True
    return isinstance(value, str) and _ENCODED.match(value[:4096]) is not None
