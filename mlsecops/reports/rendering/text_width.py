"""How wide text is in a picture, so that none overlaps or runs over its edge.

Fonts differ between machines, so widths are upper bounds: the widest of the common sans-serif fonts
for each kind of character, plus five per cent.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_NARROW: Final = frozenset("iljtfrI.,:;'|!()[]/ ·-")
_WIDE: Final = frozenset("mwMW@%—→")


def text_width(text: str, size: float) -> float:
    """Upper bound of a text's width.

    Args:
        text: One line.
        size: Font size, in pixels.

    Returns:
        Width in pixels.
    """
    return 1.05 * size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    if character in _NARROW:
        return 0.4
    if character in _WIDE:
        return 1.0
    if unicodedata.east_asian_width(character) in "WF" or ord(character) > 0x2FFF:  # noqa: PLR2004 - first CJK block
        return 1.1
    if unicodedata.combining(character):
        return 0.0
    if character.isupper():
        return 0.74
    return 0.62


def fit(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it would be wider than the given pixels."""
    if text_width(text, size) <= width:
        return text
    kept = text
    while kept and text_width(f"{kept}…", size) > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def wrap(text: str, width: float, size: float, *, most: int = 3) -> list[str]:
    """Lines that are each at most so wide; the last is cut where more would be needed.

    Args:
        text: Words separated by spaces.
        width: Width of a line, in pixels.
        size: Font size, in pixels.
        most: Number of lines.
    """
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [fit(line, width, size) for line in lines]
