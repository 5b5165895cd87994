"""Which turns of phrase do injected instructions use?

The table is `injection_patterns.toml`: name of a signal, its weight, and the patterns that are it,
for text that `fold` has made plain. English goes by structure, other languages by pairs of words
near each other. An instruction in other words is not in it.

Source: Perez and Ribeiro, "Ignore Previous Prompt" (2022); Greshake et al., "Not What You've Signed
Up For" (2023); Schulhoff et al., "Ignore This Title and HackAPrompt" (2023), for the kinds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from mlsecops.llm.text.unicode import fold

__all__ = ["Phrase", "apart", "phrases"]

_ABROAD: Final = 0.7
_PART: Final = re.compile(r"%(\w+)%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """A turn of phrase.

    Attributes:
        signal: Name of the signal that it is.
        weight: How much it says, 0 to 1.
        pattern: Matches folded text.
    """

    signal: str
    weight: float
    pattern: re.Pattern[str]


@cache
def phrases() -> tuple[Phrase, ...]:
    """Every turn of phrase: the English ones, then those of other languages."""
    table = _table()
    english = (
        Phrase(signal=each["signal"], weight=each["weight"], pattern=_pattern(pattern))
        for each in table["phrases"]
        for pattern in each["patterns"]
    )
    abroad = (
        Phrase(signal="override", weight=_ABROAD, pattern=_pair(each["verbs"], each["objects"]))
        for each in table["abroad"]
    )
    return (*english, *abroad)


@cache
def apart() -> re.Pattern[str]:
    """Openings of orders, as they read once everything but letters is taken away."""
    return re.compile("|".join(map(re.escape, _table()["apart"]["words"])))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(
        files("mlsecops.llm.guard").joinpath("injection_patterns.toml").read_text("utf-8")
    )


def _pattern(pattern: str) -> re.Pattern[str]:
    parts = _table()["parts"]
    while _PART.search(pattern):
        pattern = _PART.sub(lambda found: parts[found[1]], pattern)
    return re.compile(pattern)


def _pair(verbs: Iterable[str], objects: Iterable[str]) -> re.Pattern[str]:
    """Two groups of words near each other; their letters folded as the text's will be."""
    verb, thing = (
        "|".join(sorted({re.escape(fold(word, lookalikes=False)) for word in words}))
        for words in (verbs, objects)
    )
    near = "[^.!?\u3002\uff01\uff1f\\n]{0,40}?"
    return re.compile(rf"(?:(?<!\w)(?:{verb}){near}(?:{thing})|(?:{thing}){near}(?:{verb}))")
