"""Provenance of a tool call's arguments: the user, a default, an untrusted source or the model.

request of the user, argument → whether the argument's text stands in the request, as a whole
texts that entered the session, argument → the source whose text holds it

What stands in the user's request is the user's, even if an untrusted text says the same. A part of
an address or a number in the request is not: `example.com` is not `bob@example.com`.

Source: Debenedetti et al., "Defeating Prompt Injections by Design" (2025), for arguments with
provenance; here by comparison of texts instead of a data flow, which a model interrupts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["UserRequest", "source_of", "texts_of"]

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
        self._plain = _plain(text)
        self._numbers = {_number(found[0]) for found in _NUMBER.finditer(self._plain)}

    def holds(self, value: Any, *, deepest: int = _DEEPEST) -> bool:
        """Whether a value, with all that is in it, stands in the request."""
        if deepest < 0 or value is None or isinstance(value, bool):
            return False
        if isinstance(value, (int, float)):
            return float(value) in self._numbers
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value).decode("utf-8", "replace")
        if isinstance(value, str):
            return self._says(value)
        if isinstance(value, Mapping):
            value = [*value, *value.values()]
        if isinstance(value, (list, tuple, set, frozenset)):
            return bool(value) and all(self.holds(each, deepest=deepest - 1) for each in value)
        return False

    def _says(self, text: str) -> bool:
        word = _plain(text)
        if not any(map(str.isalnum, word)):
            return False
        pattern = rf"(?<!{_INSIDE})(?<!\w\.){re.escape(word)}(?!{_INSIDE})(?!\.\w)"
        return re.search(pattern, self._plain) is not None


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
    for word in map(_plain, texts_of(value)):
        for source, text in known:
            if len(word) >= _SHORTEST and word in _plain(text):
                return source
    return "model"


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", str(text)).casefold().split())


def _number(text: str) -> float:
    return float(text.replace(",", ""))
