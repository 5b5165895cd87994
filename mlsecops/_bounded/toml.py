"""Bounded TOML reader for everything that comes from outside.

text → limits of length and of dotted keys → tables, or the caller's error

Python's parser keeps every prefix of a dotted key: a key of 100,000 parts takes 40 GB.

Source: TOML 1.0, "Keys" (dotted keys); CPython `Lib/tomllib/_parser.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any, Final

from mlsecops._bounded.budget import tick

_MOST: Final = 1_000_000  # characters; measured: 6 s and 100 MiB at worst, keys of 48 parts
_MOST_DOTS: Final = 24  # dots in a line besides those of numbers; chosen: keys have fewer than ten
_NUMBER: Final = re.compile(r"(?<![\w.])\d{1,40}\.\d{1,40}(?:[eE][+-]?\d{1,5})?(?![\w.-])")
"""A number that is no part of a key: half of a key's dots remain when these are taken out."""
_TEXT: Final = re.compile(r"""[ \t]*[\w-]{1,100}[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|'[^']*')""")
"""A bare key and its text at the start of a line: nothing in it is a key of several parts."""
_LINES: Final = re.compile("\"\"\"|'''")
"""Quotes of a text of several lines, in which a line may look like a key and its text."""


def parse_toml(text: str, *, what: str, error: Callable[[str], Exception]) -> dict[str, Any]:
    """Parse a TOML document within bounded time and memory.

    Args:
        text: The document.
        what: Name for messages.
        error: Class of the error to raise.

    Raises:
        Exception: `error`, where it is no TOML, is too long, or may have a key of too many parts.
        LimitExceeded: The budget of the artifact that is being read is used up.

    Examples:
        >>> parse_toml("a.b = 1", what="settings", error=ValueError)
        {'a': {'b': 1}}
    """
    tick(where=what)
    if len(text) > _MOST:
        raise error(f"{what}: {len(text)} characters of TOML: expected at most {_MOST}")
    single = _LINES.search(text) is None
    if any(_dots(line, single=single) > _MOST_DOTS for line in text.split("\n")):
        raise error(
            f"{what}: expected at most {_MOST_DOTS} dots in a line of TOML, besides those of "
            "numbers and of one text after a key, got more; break the line"
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as reason:  # also an integer of thousands of digits
        raise error(f"{what}: not valid TOML: {reason}") from reason


def _dots(line: str, *, single: bool) -> int:
    """Dots of a line that may be those of a key."""
    if line.count(".") <= _MOST_DOTS:
        return 0
    text = _TEXT.match(line) if single else None
    return _NUMBER.sub("", line if text is None else line[text.end() :]).count(".")
