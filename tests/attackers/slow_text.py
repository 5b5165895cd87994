"""Texts on which a regular expression that backtracks takes more than linear time.

Pattern → a text that begins to match it, from its own literals, cut off after some of them and
repeated → detector

Source: Davis et al., "The Impact of Regular Expression Denial of Service in Practice" (2018).
"""

from __future__ import annotations

import random
import re._constants as parts
import re._parser as parser
from collections.abc import Iterator
from typing import Any

LONGEST_RUN = 80  # repeats of a part that a text draws


def unbounded(pattern: str) -> bool:
    """Whether a pattern has a repeat without a bound."""
    return any(
        operator in {parts.MAX_REPEAT, parts.MIN_REPEAT, parts.POSSESSIVE_REPEAT}
        and argument[1] == parts.MAXREPEAT
        for operator, argument in _all(parser.parse(pattern))
    )


def _all(tree: Any) -> Iterator[tuple[Any, Any]]:
    for operator, argument in tree:
        yield operator, argument
        if operator == parts.BRANCH:
            for branch in argument[1]:
                yield from _all(branch)
        elif operator == parts.SUBPATTERN:
            yield from _all(argument[3])
        elif operator in {parts.MAX_REPEAT, parts.MIN_REPEAT, parts.POSSESSIVE_REPEAT}:
            yield from _all(argument[2])
        elif operator in {parts.ASSERT, parts.ASSERT_NOT}:
            yield from _all(argument[1])


def drawn(pattern: str, chance: random.Random) -> str:
    """A text that a pattern matches, or nearly."""
    return "".join(_drawn(parser.parse(pattern), chance))


def _drawn(tree: Any, chance: random.Random) -> Iterator[str]:
    for operator, argument in tree:
        if operator == parts.LITERAL:
            yield chr(argument)
        elif operator in {parts.NOT_LITERAL, parts.ANY}:
            yield "a"
        elif operator == parts.BRANCH:
            yield from _drawn(chance.choice(argument[1]), chance)
        elif operator == parts.SUBPATTERN:
            yield from _drawn(argument[3], chance)
        elif operator == parts.IN:
            yield _one_of(argument, chance)
        elif operator in {parts.MAX_REPEAT, parts.MIN_REPEAT, parts.POSSESSIVE_REPEAT}:
            least, most, inner = argument
            for _ in range(chance.choice([least, min(int(most), LONGEST_RUN)])):
                yield from _drawn(inner, chance)


def _one_of(choices: Any, chance: random.Random) -> str:
    if choices[0][0] == parts.NEGATE:
        return chance.choice(" a")
    operator, argument = chance.choice(choices)
    if operator == parts.LITERAL:
        return chr(argument)
    if operator == parts.RANGE:
        return chr(chance.randint(*argument))
    return {
        parts.CATEGORY_WORD: "a",
        parts.CATEGORY_NOT_WORD: " ",
        parts.CATEGORY_SPACE: " ",
        parts.CATEGORY_DIGIT: "1",
    }.get(argument, "a")


def repeated(pattern: str, *, number: int, size: int) -> str:
    """A text of a size, made of one beginning of a match again and again."""
    chance = random.Random(number)  # noqa: S311 - nothing secret
    text = drawn(pattern, chance)
    start = text[: chance.randint(1, max(1, len(text)))] + chance.choice(["", " ", "a", "!"])
    return (start * (size // len(start) + 1))[:size]


FIXED = {
    "images": "![",
    "links": "![a](https://b/",
    "jailbreaks": "jailbr",
    "articles": "to the an any ",
    "marks": "\u0315\u0300",
    "joiners": "\U0001f468\u200d",
    "selectors": "*\ufe0f",
    "tags": "\U0001f3f4\U000e0067",
    "brackets": "[/",
    "bits": "0101010          ",
    "codes": "12 34 5",
    "spaced": "a _ ",
    "percent": "%2",
    "references": "&#9",
    "roles": "</s>        ",
    "lines": "ignore all previous instructions ",
    "look-alikes": "\u0456gn\u043er\u0435 ",
    "turns": "user:\n",
    "base64": "aWdub3JlIGFsbCA",
    "hex": "\\x69",
}
"""Name → a text to repeat."""
