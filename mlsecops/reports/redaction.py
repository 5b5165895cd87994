"""Redaction of untrusted text for reports.

untrusted text → secrets, control characters and bidirectional controls replaced → bounded text
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from mlsecops._secrets import cut

MESSAGE: Final = 1000  # characters of a message; chosen: a long paragraph, the rest is cut
PLACE: Final = 300  # characters of an artifact's name or a place; chosen: a long path
_REPLACEMENT: Final = "\ufffd"


def shown(value: Any, *, most: int = 96) -> str:
    """Text of an untrusted value for a message, at most `most` characters long.

    Examples:
        >>> shown("password=hunter22")
        '[redacted]'
    """
    text = cut(str(value))
    if not text.isprintable():
        text = "".join(each if _is_visible(each) else _REPLACEMENT for each in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _is_visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
