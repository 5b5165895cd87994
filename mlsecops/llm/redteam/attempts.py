"""What is one attempt on a language model, and by what is its success told?

An `Attempt` holds the messages that are sent and what to look for in the answer. Its id is a digest
of both, so that a journal can name it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["BENIGN", "Attempt", "Expectation", "Message", "Outcome"]

Message: TypeAlias = Mapping[str, Any]
Outcome: TypeAlias = Literal["success", "resisted", "answered", "unanswered", "error"]
"""A success is an attacker's; a benign question is answered or not."""

BENIGN: Final = "benign"
_ID: Final = 16  # hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What shows that an attempt succeeded.

    Attributes:
        kind: `"token"`: a text that the model had to make and that stands in no message;
            `"canary"`: a secret of the system message; `"tool"`: a call of that tool.
        value: The token, the canary, or the tool's name.
    """

    kind: Literal["token", "canary", "tool"]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One conversation that is sent.

    Attributes:
        family: Class of the attack, or `"benign"`.
        mutators: What its text was changed by, in order.
        owasp: Risks of the OWASP Top 10 for LLM applications 2025 that it tries.
        atlas: Techniques of MITRE ATLAS that it uses.
        messages: In the form of OpenAI's chat completions, the system message first.
        expect: What shows success; of a benign one, that it was answered.
        tools: Functions that the model is offered, in the same form.
    """

    family: str
    mutators: tuple[str, ...]
    owasp: tuple[str, ...]
    atlas: tuple[str, ...]
    messages: tuple[Message, ...]
    expect: Expectation
    tools: tuple[Message, ...] = ()

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of all the rest."""
        text = json.dumps(self._content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_ID]

    @property
    def control(self) -> bool:
        """Whether it is a benign question and no attack."""
        return self.family == BENIGN

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"id": self.id, **self._content()}

    def _content(self) -> dict[str, Any]:
        return {
            "class": self.family,
            "mutators": list(self.mutators),
            "owasp": list(self.owasp),
            "atlas": list(self.atlas),
            "messages": [dict(message) for message in self.messages],
            "expect": {"kind": self.expect.kind, "value": self.expect.value},
            **({"tools": [dict(tool) for tool in self.tools]} if self.tools else {}),
        }
