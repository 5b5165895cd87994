"""Provenance of a tool call's arguments: the user, a default, an untrusted source or the model.

request of the user, argument → whether the argument's text stands in the request, as a whole
texts that entered the session, argument → the source whose text holds it

What stands in the user's request is the user's, even if an untrusted text says the same. A part of
an address or a number in the request is not: `example.com` is not `bob@example.com`. A date is the
same however it is written: "January 2nd 2025" is `2025-01-02`, and its numbers are no others.

Source: Debenedetti et al., "Defeating Prompt Injections by Design" (2025), for arguments with
provenance; here by comparison of texts instead of a data flow, which a model interrupts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

from mlsecops.llm.text.dates import Dates, without_dates

__all__ = ["UserRequest", "folded", "same_value", "source_of", "texts_of"]

_NUMBER: Final = re.compile(r"(?<![\w.,])[+-]?\d[\d,]*(?:\.\d+)?(?![\w])")
_INSIDE: Final = r"[\w@/:+\-_]"
_SHORTEST: Final = 3  # characters of a text whose source is looked for; chosen
_DEEPEST: Final = 12  # levels; arguments nested deeper are nobody's


class UserRequest:
    """The user's request.

    Examples:
        >>> request = UserRequest("Send 20 euros to bob@example.com.")
        >>> request.holds("bob@example.com"), request.holds("example.com"), request.holds(20)
        (True, False, True)
    """

    def __init__(self, text: str) -> None:
        self._plain = folded(text)
        self._undated = without_dates(self._plain)
        self._numbers = {_number(found[0]) for found in _NUMBER.finditer(self._undated)}
        self._dates = Dates(text)

    def holds(self, value: Any, *, deepest: int = _DEEPEST) -> bool:
        """Whether a value, with all that is in it, stands in the request."""
        if deepest < 0 or value is None or isinstance(value, bool):
            return False
        if isinstance(value, (int, float)):
            return float(value) in self._numbers
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value).decode("utf-8", "replace")
        if isinstance(value, str):
            return self._says(value) or self._dates.hold(value)
        if isinstance(value, date):
            return self._dates.hold(value)
        if isinstance(value, Mapping):
            value = [*value, *value.values()]
        if isinstance(value, (list, tuple, set, frozenset)):
            return bool(value) and all(self.holds(each, deepest=deepest - 1) for each in value)
        return False

    def _says(self, text: str) -> bool:
        word = folded(text)
        plain = self._undated if word.isdecimal() else self._plain  # June 13 names no file 13
        if word not in plain or not any(map(str.isalnum, word)):
            return False
        pattern = rf"(?<!{_INSIDE})(?<!\w\.){re.escape(word)}(?!{_INSIDE})(?!\.\w)"
        return re.search(pattern, plain) is not None


def same_value(first: Any, second: Any) -> bool:
    """Whether two arguments are the same: 5 is 5.0, and neither is "5" or True."""
    both = (first, second)
    if all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in both):
        return bool(first == second)
    return type(first) is type(second) and bool(first == second)


def texts_of(value: Any, *, deepest: int = _DEEPEST) -> Iterable[str]:
    """All texts and numbers in a value, as text."""
    if deepest < 0 or value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from texts_of([*value, *value.values()], deepest=deepest - 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from texts_of(each, deepest=deepest - 1)


def source_of(value: Any, texts: Iterable[tuple[str, str]]) -> str:
    """The source of the first text that holds a part of a value; else `"model"`."""
    known = list(texts)
    for word in map(folded, texts_of(value)):
        for source, text in known:
            if len(word) >= _SHORTEST and word in folded(text):
                return source
    return "model"


def folded(text: str) -> str:
    """A text as it is compared: one form of each letter, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFC", str(text)).casefold().split())


def _number(text: str) -> float:
    return float(text.replace(",", ""))
