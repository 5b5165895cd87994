"""Attack attempt: messages to send, and the expectation that shows success.

Its id is a digest of both, under which a journal records it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mlsecops._repr import concise_repr
from mlsecops.llm.text.unicode import concealed

Message: TypeAlias = Mapping[str, Any]
Outcome: TypeAlias = Literal[
    "success", "resisted", "answered", "unanswered", "blocked", "cut-off", "unable", "error"
]
"""Of an attack: success, resisted, or unable (to do it when asked plainly); of an honest question:
answered, unanswered; of both: blocked (by a filter of the service), cut-off, error."""

BENIGN: Final = "benign"
ABILITY: Final = "ability"
HONEST: Final = (BENIGN, ABILITY)
"""Classes of honest questions: about the duty, and plain ones that show an ability."""
_ID: Final = 16  # hexadecimal digits; chosen: 64 bits, so that ids of a campaign do not collide


@concise_repr("kind")
@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Evidence that an attempt succeeded.

    Attributes:
        kind: `"token"`: a text that no message contains and the model has to compute; `"canary"`:
            a secret of the system message; `"tool"`: a call of that tool.
        value: The token, the canary or the name of the tool.
        least: Characters of an answer that are a success whatever they say; 0 looks for the value.
    """

    kind: Literal["token", "canary", "tool"]
    value: str
    least: int = 0

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"kind": self.kind, "value": self.value}


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A conversation to send to a model.

    Attributes:
        family: Class of the attack, or `"benign"`.
        mutators: Names of the mutators of its text, in order.
        owasp: Risks of the OWASP Top 10 for LLM Applications 2025.
        atlas: Techniques of MITRE ATLAS.
        messages: Messages of OpenAI's chat completions, the system message first.
        expect: Evidence of success, or of a benign question's answer.
        tools: Functions offered to the model, as in chat completions.
        follow_ups: What is said next, a choice of texts for each further turn.
        needs: Abilities that it takes to succeed; for an honest question, those that it shows.
    """

    family: str
    mutators: tuple[str, ...]
    owasp: tuple[str, ...]
    atlas: tuple[str, ...]
    messages: tuple[Message, ...]
    expect: Expectation
    tools: tuple[Message, ...] = ()
    follow_ups: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the content."""
        text = json.dumps(self._content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_ID]

    @property
    def prompt(self) -> str:
        """The last message, with what invisible characters in it say."""
        text = str(self.messages[-1]["content"]) if self.messages else ""
        hidden = concealed(text)
        return f"{text} [hidden: {hidden}]" if hidden else text

    @property
    def control(self) -> bool:
        """Whether it is an honest question rather than an attack."""
        return self.family in HONEST

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
            "expect": self.expect.to_dict(),
            **({"tools": [dict(tool) for tool in self.tools]} if self.tools else {}),
            **({"follow_ups": [list(each) for each in self.follow_ups]} if self.follow_ups else {}),
        }
