"""Observed answer of a language model: what its pieces say, and when the first one came.

text, chat completion, response, Anthropic message, or pieces of these → `ObservedAnswer`

Reading never fails towards the caller: what cannot be read is `unread`. At most a million
characters are kept of an answer, until its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from mlsecops.llm.redteam.answers import FILTERED, arguments_text, member, read_answer
from mlsecops.llm.serving.usage import TokenUsage, read_usage

__all__ = ["ABANDONED", "UNREAD", "ObservedAnswer"]

UNREAD: Final = "unread"
"""Finish reason of an answer whose form is not known."""
ABANDONED: Final = "abandoned"
"""Finish reason of a stream whose consumer left before its end."""
_LONGEST: Final = 1_000_000  # characters of content that are kept; chosen: more than any model says
_TEXT_EVENTS: Final = ("response.output_text.delta", "response.refusal.delta")
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


class ObservedAnswer:
    """An answer as it passes by.

    Attributes:
        first: Seconds on the clock when its first token came; None before.
        last: Seconds on the clock when its latest token came.
        pieces: Number of pieces with a token.
        finish: Reason for its end, in the service's word, or `""`.
        refused: Whether the model or a filter of the service refused.
        usage: Tokens.
        model: Model that answered, in the service's word, or `""`.
        id: Id of the answer, or `""`.
        unread: Number of pieces of an unknown form.
    """

    def __init__(self, clock: Callable[[], float], *, content: bool = False) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self._kept: list[str] | None = [] if content else None
        self._room = _LONGEST
        self.first: float | None = None
        self.last: float | None = None
        self.pieces = 0
        self.finish = self.model = self.id = ""
        self.refused = False
        self.usage = TokenUsage()
        self.unread = 0

    @property
    def digest(self) -> str:
        """`"sha256:<hex>"` of its text."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def text(self) -> str | None:
        """Its text, if content is kept."""
        return None if self._kept is None else "".join(self._kept)

    def whole(self, value: Any) -> None:
        """Take an answer that is no stream."""
        try:
            self._facts(value)
            answer = read_answer(value)
        except Exception:  # noqa: BLE001 - an answer of any form passes by
            self.unread += 1
            return
        self.refused = self.refused or answer.blocked or _refuses(value)
        self._keep(answer.text or "".join(call.name for call in answer.tool_calls))
        if answer.blocked and not self.finish:
            self.finish = "content_filter"

    def snapshot(self, value: Any) -> None:
        """Take the state of a client's stream at its end; its text only if no piece was seen."""
        if not self.pieces:
            self.whole(value)
            return
        try:
            self._facts(value)
        except Exception:  # noqa: BLE001 - as above
            self.unread += 1

    def piece(self, value: Any) -> None:
        """Take the next piece of a stream."""
        try:
            self._piece(value)
        except Exception:  # noqa: BLE001 - as above
            self.unread += 1

    def _piece(self, value: Any) -> None:
        if isinstance(value, (bytes, bytearray)):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            self._said(value)
            return
        kind = member(value, "type")
        if isinstance(kind, str) and kind.startswith("response."):
            self._response(kind, value)
        elif isinstance(kind, str) and kind.startswith(("message_", "content_block_", "ping")):
            self._message(kind, value)
        elif member(value, "choices") is not None:
            self._facts(value)
            self._chunk(value)
        elif kind == "chunk":  # of the helper of OpenAI's client
            self._piece(member(value, "chunk"))
        elif member(value, "content") is not None:
            self._facts(value)
            self._said(read_answer(value).text)
        else:
            self.unread += 1

    def _chunk(self, value: Any) -> None:
        for choice in member(value, "choices") or ():
            delta = member(choice, "delta") or member(choice, "message")
            self.refused = self.refused or bool(member(delta, "refusal"))
            called = [member(each, "function") for each in member(delta, "tool_calls") or ()]
            said = [member(delta, "content"), member(delta, "refusal"), member(choice, "text")]
            said += [member(each, name) for each in called for name in ("name", "arguments")]
            thought = member(delta, "reasoning_content") or member(delta, "reasoning")
            self._said(*said, token=bool(thought))

    def _response(self, kind: str, value: Any) -> None:
        if kind in _TEXT_EVENTS:
            self.refused = self.refused or kind == _TEXT_EVENTS[1]
            self._said(member(value, "delta"))
        elif kind.endswith(".delta"):
            self._said(token=True)
        elif kind in _ENDS or kind == "response.created":
            self._facts(member(value, "response"))

    def _message(self, kind: str, value: Any) -> None:
        delta = member(value, "delta")
        if kind == "message_start":
            self._facts(member(value, "message"))
        elif kind == "content_block_start":
            block = member(value, "content_block")
            self._said(member(block, "text"), member(block, "name"))
        elif kind == "content_block_delta":
            thought = bool(member(delta, "thinking"))
            self._said(member(delta, "text"), member(delta, "partial_json"), token=thought)
        elif kind == "message_delta":
            self._facts({"stop_reason": member(delta, "stop_reason"), "usage": _usage(value)})

    def _facts(self, value: Any) -> None:
        """Model, id, tokens and reason of the end, as far as this value has them."""
        self.model = str(member(value, "model") or self.model)
        self.id = str(member(value, "id") or self.id)
        self.usage = self.usage.updated(read_usage(_usage(value)))
        choices = member(value, "choices")
        reasons = [member(each, "finish_reason") for each in choices or ()]
        reasons.append(member(value, "stop_reason"))
        if isinstance(member(value, "output"), (list, tuple)) or member(value, "status"):
            reasons.append(member(member(value, "incomplete_details"), "reason"))
            reasons.append(member(value, "status"))
        found = next((each for each in reasons if isinstance(each, str) and each), "")
        if found not in {"", "in_progress", "queued"}:
            self.finish = found
        self.refused = self.refused or self.finish.lower() in FILTERED

    def _said(self, *parts: Any, token: bool = False) -> None:
        """Text, or names and arguments of tools, and whether a thought came."""
        text = "".join(arguments_text(each) for each in parts if each)
        if not text and not token:
            return
        self.last = self._clock()
        self.first = self.last if self.first is None else self.first
        self.pieces += 1
        self._keep(text)

    def _keep(self, text: str) -> None:
        self._hash.update(text.encode("utf-8", "surrogatepass"))
        if self._kept is not None and self._room > 0:
            self._kept.append(text[: self._room])
            self._room -= len(text)


def _refuses(value: Any) -> bool:
    """Whether a message bears a refusal, which is a part of its own."""
    choices = [member(each, "message") for each in member(value, "choices") or ()]
    parts = [
        part
        for each in (value, *(member(value, "output") or ()))
        if isinstance(content := member(each, "content"), (list, tuple))
        for part in content
    ]
    refused = any(member(part, "type") == "refusal" for part in parts)
    return refused or any(member(each, "refusal") for each in (value, *choices))


def _usage(value: Any) -> Any:
    """The usage of an answer; some clients have it next to the message."""
    return member(value, "usage") or member(value, "usage_metadata")
