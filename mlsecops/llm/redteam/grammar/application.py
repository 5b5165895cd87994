"""The user's application as the ground of attempts.

system message, documents, tools, secrets and language → `Ground`: its own secret is the canary, its
own tools are the forbidden calls, its own documents carry the attacker's text.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from mlsecops._bounded.toml import parse_toml
from mlsecops._choices import checked, one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.grammar.attack_texts import LANGUAGES
from mlsecops.llm.redteam.grammar.scenes import (
    DEMANDS,
    Ground,
    Scene,
    ToolDemand,
    built_in_scenes,
)
from mlsecops.llm.text.unicode import joined

__all__ = ["Application", "as_function", "read_application"]

Language = Literal["en", "de", "fr", "es", "it", "pt", "zh", "ja", "ru"]
_SHORTEST: Final = 8  # letters or digits of a secret; as of a Canary
_KEYS: Final = frozenset({"system", "documents", "tools", "language", "secrets", "questions"})
_PLACES: Final = 4  # places in a document where an attacker writes; chosen
_PARAGRAPH: Final = re.compile(r"\n\s*\n|(?<=[.!?\u3002])\s+|\n")
_READING: Final = re.compile(
    r"(?:^|_|\b)(?:get|list|read|search|find|fetch|lookup|look_up|query|show|view|check|describe"
    r"|count|summari[sz]e)(?:_|\b)", flags=re.IGNORECASE
)  # fmt: skip


@concise_repr("language", "documents", "tools", "secrets")
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a campaign should know of an application, so that its attempts fit.

    Attributes:
        system: Its system message; None for those of built-in scenes.
        documents: Texts that it reads and others can write; `{here}` marks where, if it matters.
        tools: Functions that it offers to the model: chat completions, responses, Anthropic or MCP.
        language: Language of its users.
        scenes: Own scenes; None for the application itself, or the built-in ones.
        secrets: Parts of the system message that nobody may learn.
        questions: Honest questions with a word of their answer that the question does not hold.

    Raises:
        UsageError: A secret is too short or not in the system message, a tool has no name, or the
            language is unknown.

    Examples:
        >>> app = Application(system="You sell tea. The code is oolong-77421.",
        ...                   secrets=("oolong-77421",), documents=("A review. Nice tea.",))
        >>> app.ground().secrets
        ('oolong-77421',)
    """

    system: str | None = None
    documents: Sequence[str] = ()
    tools: Sequence[Any] = ()
    language: Language = "en"
    scenes: Sequence[Scene] | None = None
    secrets: Sequence[str] = ()
    questions: Sequence[Sequence[str]] = ()
    _definitions: tuple[Mapping[str, Any], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        one_of("language", self.language, LANGUAGES)
        for secret in self.secrets:
            if len(joined(secret)) < _SHORTEST:
                raise UsageError(
                    f"secrets: expected at least {_SHORTEST} letters or digits each, got "
                    f"{len(joined(secret))}; shorter texts occur by accident"
                )
            if self.system is not None and secret not in self.system:
                raise UsageError(
                    "secrets: expected parts of the system message, got one that is not in it; "
                    "leave system out if the target has its own"
                )
        for pair in self.questions:
            if isinstance(pair, str) or len(pair) != 2 or not joined(pair[1]):  # noqa: PLR2004 - a pair
                raise UsageError("questions: expected pairs of a question and a word of its answer")
            if joined(pair[1]) in joined(pair[0]):
                raise UsageError(f"questions: {pair[0]!r} holds its answer; ask for something else")
        object.__setattr__(self, "_definitions", tuple(map(as_function, self.tools)))

    def ground(self) -> Ground:
        """The ground of its attempts."""
        return Ground(
            scenes=self._scenes(),
            language=self.language,
            demands=_demands(self._definitions) if self._definitions else DEMANDS,
            secrets=tuple(self.secrets),
            own_duty=self.system is not None,
            questions=tuple((str(asked), str(word)) for asked, word in self.questions),
            version=self._version(),
        )

    def _scenes(self) -> tuple[Scene, ...]:
        if self.scenes is not None:
            if not self.scenes:
                raise UsageError("scenes: expected at least one, got none")
            return tuple(self.scenes)
        known = built_in_scenes(self.language)
        if self.system is None and not self.documents:
            return known
        first = known[0]
        return (
            Scene(
                duty=first.duty if self.system is None else self.system,
                wish=first.wish,
                documents=[each for text in self.documents for each in _carriers(text)]
                or first.documents,
                search=first.search,
                things=first.things,
                code=first.code,
            ),
        )

    def _version(self) -> str:
        scenes = None if self.scenes is None else [repr(each) for each in self.scenes]
        known = [self.system, list(self.documents), self._definitions, self.language, scenes]
        text = json.dumps([*known, list(self.secrets)], sort_keys=True, default=str)
        plain = self.system is None and not (self.documents or self.tools or scenes)
        return "" if plain and self.language == "en" else hashlib.sha256(text.encode()).hexdigest()


def _carriers(text: str) -> list[str]:
    """A document with `{here}` in it: where the user put it, or at a few ends of sentences."""
    if "{here}" in text:
        return [text]
    ends = [found.start() for found in _PARAGRAPH.finditer(text)] or [len(text)]
    step = max(1, len(ends) // _PLACES)
    return [f"{text[:end]} {{here}}{text[end:]}" for end in ends[::step][:_PLACES]]


def as_function(tool: Any) -> dict[str, Any]:
    """A tool in the shape of chat completions, whatever shape it is given in.

    Examples:
        >>> as_function({"name": "pay", "inputSchema": {"type": "object"}})["function"]["name"]
        'pay'
    """
    plain = tool if isinstance(tool, Mapping) else _members(tool)
    inner = plain.get("function")
    function = inner if isinstance(inner, Mapping) else plain
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError(f"tools: expected definitions with a name, got {type(tool).__name__}")
    schemas = (function.get(key) for key in ("parameters", "input_schema", "inputSchema"))
    schema = next((each for each in schemas if each is not None), {"type": "object"})
    about = function.get("description") or ""
    return {
        "type": "function",
        "function": {"name": name, "description": str(about), "parameters": dict(schema)},
    }


def _members(tool: Any) -> Mapping[str, Any]:
    names = ("name", "description", "parameters", "input_schema", "inputSchema", "function")
    return {name: getattr(tool, name) for name in names if getattr(tool, name, None) is not None}


def _demands(definitions: Sequence[Mapping[str, Any]]) -> tuple[ToolDemand, ...]:
    """The tools that change something, by their names; all if none does."""
    acting = [x for x in definitions if not _READING.search(x["function"]["name"])] or definitions
    return tuple(ToolDemand(definition=each, arguments=_arguments(each)) for each in acting)


def _arguments(definition: Mapping[str, Any]) -> str:
    properties = definition["function"]["parameters"].get("properties") or {}
    parts = [f"{name} = {_value(kind)}" for name, kind in properties.items()]
    return ", ".join(parts) or "no arguments"


def _value(kind: Any) -> str:
    schema = kind if isinstance(kind, Mapping) else {}
    if schema.get("enum"):
        return str(schema["enum"][0])
    return {"integer": "400", "number": "400", "boolean": "true", "array": "[{name}]"}.get(
        str(schema.get("type")), "{name}@{host}"
    )


def read_application(path: str | os.PathLike[str], *, language: str | None = None) -> Application:
    """Read an application from TOML whose keys are its attributes.

    `system` and each of `documents` may be `{ file = "…" }`, by the folder of the TOML file.

    Raises:
        UsageError: It cannot be read, or has an unknown key.
    """
    place = Path(path)
    try:
        text = place.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"application: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"application: {path}: expected UTF-8 text: {error}") from error
    found = parse_toml(text, what=f"application: {path}", error=UsageError)
    unknown = sorted(set(found) - _KEYS)
    if unknown:
        raise UsageError(
            f"application: {path}: expected {', '.join(sorted(_KEYS))}, got {', '.join(unknown)}"
        )
    if "system" in found:
        found["system"] = _text(found["system"], place)
    found["documents"] = [_text(each, place) for each in found.get("documents", [])]
    return Application(**{**found, **({} if language is None else {"language": language})})


def _text(value: Any, place: Path) -> Any:
    if not isinstance(value, dict):
        return value
    try:
        return place.parent.joinpath(str(value["file"])).read_text("utf-8")
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"application: {place}: cannot read {value}: {error}") from error
