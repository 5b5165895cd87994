"""Answers of model services in the shapes of their APIs, whole and streamed."""

from __future__ import annotations

import itertools
import json
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
_PIECES = 3  # pieces of a streamed text


def _whole(value: Any) -> Reply:
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()


def _events(events: list[tuple[str, Any]], *, done: bool = False) -> Reply:
    parts = [f"event: {name}\ndata: {json.dumps(value)}\n\n" for name, value in events]
    text = "".join(parts) + ("data: [DONE]\n\n" if done else "")
    return 200, {"content-type": "text/event-stream; charset=utf-8"}, text.encode()


def _pieces(text: str) -> list[str]:
    cuts = [len(text) * each // _PIECES for each in range(_PIECES + 1)]
    return [text[start:end] for start, end in itertools.pairwise(cuts)]


def chat(text: str, *, finish: str = "stop") -> Reply:
    """A chat completion with reasoning beside its text."""
    message = {"role": "assistant", "content": text, "reasoning_content": "hm, secret-of-thought"}
    return _whole({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    })  # fmt: skip


def chat_stream(text: str, *, finish: str | None = "stop") -> Reply:
    """A streamed chat completion; without `finish` it breaks off."""

    def chunk(delta: Any, ended: str | None = None) -> tuple[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": ended}
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return "message", {**value, "choices": [choice]}

    chunks = [chunk({"role": "assistant", "reasoning_content": "hm, secret-of-thought"})]
    chunks += [chunk({"content": piece}) for piece in _pieces(text)]
    if finish is not None:
        chunks.append(chunk({}, finish))
    return _events(chunks, done=finish is not None)


def _output(text: str) -> list[Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    thought = {"type": "summary_text", "text": "hm, secret-of-thought"}
    return [
        {"type": "reasoning", "id": "r", "summary": [thought]},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed",
         "content": [part]},
    ]  # fmt: skip


def _response(text: str, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "id": "resp", "object": "response", "created_at": 1, "model": "m", "status": status,
        "output": _output(text), "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "incomplete_details": None if reason is None else {"reason": reason},
        "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
                  "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip


def responses(text: str, *, status: str = "completed", reason: str | None = None) -> Reply:
    """A response of OpenAI's responses API."""
    return _whole(_response(text, status, reason))


def responses_stream(text: str, *, complete: bool = True) -> Reply:
    """A streamed response."""
    started = _response("", "in_progress", None) | {"output": []}
    events: list[tuple[str, Any]] = [
        (
            "response.created",
            {"type": "response.created", "sequence_number": 0, "response": started},
        )
    ]
    for number, piece in enumerate(_pieces(text), start=1):
        kind = "response.output_text.delta"
        place = {"item_id": "m", "output_index": 1, "content_index": 0, "logprobs": []}
        events.append((kind, {"type": kind, "sequence_number": number, "delta": piece, **place}))
    if complete:
        kind = "response.completed"
        whole = _response(text, "completed", None)
        events.append((kind, {"type": kind, "sequence_number": 9, "response": whole}))
    return _events(events)


def messages(text: str, *, stop: str = "end_turn") -> Reply:
    """An Anthropic message with thinking in front of its text."""
    content = [
        {"type": "thinking", "thinking": "hm, secret-of-thought", "signature": "s"},
        {"type": "text", "text": text},
    ]
    return _whole({
        "id": "msg", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 10},
    })  # fmt: skip


def messages_stream(text: str, *, complete: bool = True) -> Reply:
    """A streamed Anthropic message."""
    start = {
        "id": "msg", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 1},
    }  # fmt: skip
    events: list[Any] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "thinking_delta", "thinking": "hm, secret-of-thought"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    ]  # fmt: skip
    events += [
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": piece}}
        for piece in _pieces(text)
    ]
    if complete:
        events += [
            {"type": "content_block_stop", "index": 1},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": 10}},
            {"type": "message_stop"},
        ]  # fmt: skip
    return _events([(each["type"], each) for each in events])
