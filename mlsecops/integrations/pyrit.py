"""Targets and jailbreak templates of PyRIT, for `mlsecops.llm.fuzz`.

target of PyRIT → `pyrit_target` → callable of messages; folder of templates → `pyrit_templates` →
own classes of attempts, with our tasks in the place of `{{ prompt }}`.

PyRIT's harmful objectives need a model as a judge and are not taken; here a token shows success.

Source: PyRIT 1.1.0, `prompt_target/common/prompt_target.py`, `models/messages/message_piece.py` and
`datasets/jailbreak/templates`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked, named
from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.grammar.families import Family
from mlsecops.llm.redteam.grammar.own_attempts import own_families

__all__ = ["pyrit_target", "pyrit_templates"]

Ask: TypeAlias = Callable[[Sequence[Mapping[str, Any]]], Awaitable[dict[str, Any]]]

CLASS: Final = "pyrit-jailbreak"
_PROMPT: Final = re.compile(r"\{\{\s*prompt\s*\}\}")
_OTHER: Final = re.compile(r"\{\{|\{%")
_LARGEST: Final = 1 << 20  # bytes of a template; chosen: PyRIT's largest has 50 kB


@named
def pyrit_target(target: Any) -> Ask:
    """A callable for `fuzz` that asks a target of PyRIT, whose memory has to be initialised.

    Earlier turns, the system prompt included, go into PyRIT's memory under a new conversation. An
    answer that the target marks as blocked is one that a filter stopped.

    Raises:
        UsageError: It cannot be sent a prompt.
    """
    if not callable(getattr(target, "send_prompt_async", None)):
        raise UsageError(
            f"target: expected one with send_prompt_async, as of PyRIT, got {type(target).__name__}"
        )

    async def ask(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        *earlier, last = _turns(messages)
        memory = require("pyrit.memory").CentralMemory.get_memory_instance()
        for each in earlier:
            memory.add_message_to_memory(request=each)
        answers = await target.send_prompt_async(message=last)
        pieces = [piece for answer in answers for piece in answer.message_pieces]
        blocked = any(piece.response_error == "blocked" for piece in pieces)
        said = "" if blocked else "\n".join(str(piece.converted_value) for piece in pieces)
        ended = "content_filter" if blocked else "stop"
        return {"choices": [{"message": {"content": said}, "finish_reason": ended}]}

    ask.__name__ = ask.__qualname__ = type(target).__name__
    return ask


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """PyRIT's messages of one conversation."""
    models = require("pyrit.models")
    conversation = str(uuid.uuid4())
    return [
        models.Message(
            message_pieces=[
                models.MessagePiece(
                    role=each["role"],
                    original_value=str(each["content"]),
                    conversation_id=conversation,
                )
            ]
        )
        for each in messages
    ]


@checked
def pyrit_templates(folder: str | os.PathLike[str]) -> dict[str, Family]:
    """Own class of attempts from PyRIT's jailbreak templates: `fuzz(target, own=…)`.

    Args:
        folder: Templates in YAML, such as `pyrit/datasets/jailbreak/templates`; those with other
            parameters than `prompt` are left out.

    Raises:
        UsageError: A file is unreadable or too large, or none is such a template.
        MissingExtra: PyYAML is not installed.
    """
    files = sorted(Path(folder).rglob("*.yaml"))
    texts = [text for file in files for text in _template(file)]
    if not texts:
        raise UsageError(f"folder: expected templates with {{{{ prompt }}}}, got none in {folder}")
    rows = [{"class": CLASS, "text": text, "owasp": ["LLM01"]} for text in dict.fromkeys(texts)]
    return own_families(rows, str(folder))


def _template(file: Path) -> Iterator[str]:
    """The text of a template with our place for a task."""
    yaml = require("yaml")
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UsageError(f"folder: {file}: expected at most {_LARGEST} bytes")
        found = yaml.safe_load(data)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"folder: cannot read {file}: {type(error).__name__}") from error
    value = found.get("value") if isinstance(found, dict) else None
    if isinstance(value, str) and _PROMPT.search(value):
        text = _PROMPT.sub("{task}", value)
        if not _OTHER.search(text):
            yield text
