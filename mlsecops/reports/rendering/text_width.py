"""Text measurement for pictures: upper bounds of widths, in pixels.

text, font size → width → `fit` (ellipsis) or `wrap` (lines)

Fonts differ between machines, so each advance is that of the widest common sans-serif font, plus
five per cent.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_NARROW: Final = frozenset("iljtfrI.,:;'|!()[]/ ·-")
_WIDE: Final = frozenset("mwMW@%—→")


def text_width(text: str, size: float) -> float:
    """Upper bound of the width of a line, in pixels like the font size.

    Examples:
        >>> round(text_width("mean", 10), 1)
        30.0
    """
    return 1.05 * size * sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    """Width in units of the font size, measured from common sans-serif fonts."""
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
    """The text, cut with an ellipsis if it is wider than `width` pixels; read once.

    Examples:
        >>> fit("Robustness", 60, 13)
        'Robust…'
    """
    unit, ellipsis = 1.05 * size, _advance("…")
    total, kept = 0.0, 0
    for place, character in enumerate(text, start=1):
        total += _advance(character)
        if unit * total > width:
            return f"{text[:kept].rstrip()}…"
        if unit * (total + ellipsis) <= width:
            kept = place
    return text


def wrap(text: str, width: float, size: float, *, most: int = 3) -> list[str]:
    """Lines of at most `width` pixels; the last of `most` is cut with an ellipsis.

    Examples:
        >>> wrap("model that passed", 100, 12)
        ['model that', 'passed']
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
