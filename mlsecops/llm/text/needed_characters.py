"""Invisible characters that a script, an emoji or the layout needs.

invisible character with its neighbours → whether it has a purpose there

Source: Unicode Standard 16, sections 23.2 (layout controls) and 23.4 (variation selectors); UTS #37
(ideographic variation sequences); UTS #51 (emoji sequences); UAX #9 (marks of direction); UAX #31,
section 2.3 (joiners).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from typing import Final

__all__ = ["RightToLeftLines", "is_needed"]

_JOINERS: Final = "\u200c\u200d"
_SPACE: Final = "\u200b"
_SOFT_HYPHEN: Final = "\u00ad"
_VOWEL_SEPARATOR: Final = "\u180e"
_OVERRIDES: Final = "\u202d\u202e"
_DRAWN_SIGNS: Final = {"So", "Sk", "Sm", "Po", "Pd"}
_KEYCAPS: Final = "0123456789#*"
_IDEOGRAPHS: Final = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
_IVS: Final = (0xE0100, 0xE011F)
"""Selectors of ideographic sequences: VS17 to VS48, which encode no letter of a hidden message."""
_MONGOLIAN: Final = ((0x1800, 0x18AF),)
_JOINING: Final = (
    (0x0600, 0x0DFF), (0x0F00, 0x109F), (0x1780, 0x18AF), (0x1900, 0x1CFF), (0xA800, 0xABFF),
    (0x10A00, 0x10FFF), (0x11000, 0x11FFF), (0x1E900, 0x1E95F),
)  # fmt: skip
"""Blocks of scripts that use joiners: Arabic, Indic, Tibetan, Myanmar, Khmer and relatives."""
_UNSPACED: Final = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x1AAF))
"""Blocks of scripts without spaces between words, where a zero-width space separates them."""
_SELECTED_SCRIPTS: Final = (
    (0x1000, 0x109F),
    (0xA840, 0xA87F),
    (0xAA60, 0xAA7F),
    (0x10AC0, 0x10AFF),
)


class RightToLeftLines:
    """Lines of a text that hold letters of a right-to-left script."""

    def __init__(self, text: str) -> None:
        self._starts, self._right = [0], [False]
        if text.isascii():
            return
        self._starts, self._right = [], []
        place = 0
        for line in text.split("\n"):
            self._starts.append(place)
            self._right.append(
                any(
                    unicodedata.bidirectional(each) in {"R", "AL"}
                    for each in line
                    if each > "\u0590"
                )
            )
            place += len(line) + 1

    def at(self, place: int) -> bool:
        """Whether the line at a place is one."""
        return self._right[bisect_right(self._starts, place) - 1]


def is_needed(text: str, place: int, kind: str, lines: RightToLeftLines) -> bool:
    """Whether an invisible character of a kind has a purpose at its place."""
    before = text[place - 1] if place else ""
    after = text[place + 1] if place + 1 < len(text) else ""
    if kind == "variation":
        return bool(before) and _selects(before, text[place])
    if kind == "bidi":
        return text[place] not in _OVERRIDES and lines.at(place)
    if text[place] == _SOFT_HYPHEN:
        return _hyphenates(text, place)
    if text[place] == _SPACE:
        return _in(before, _UNSPACED) and _in(after, _UNSPACED)
    if text[place] == _VOWEL_SEPARATOR:
        return _in(before, _MONGOLIAN) and _in(after, _MONGOLIAN)
    if text[place] not in _JOINERS or not before:
        return False
    if text[place] == "\u200d" and after and _is_emoji(after):
        return _is_emoji(before) or before == "\ufe0f"
    return _in(before, _JOINING) and not _is_latin(after)


def _selects(before: str, selector: str) -> bool:
    """Whether a variation selector belongs to the character before it."""
    if _in(selector, (_IVS,)):
        return _in(before, _IDEOGRAPHS)
    if "\u180b" <= selector <= "\u180f":
        return _in(before, _MONGOLIAN)
    drawn = before in _KEYCAPS or unicodedata.category(before) in _DRAWN_SIGNS
    if selector in "\ufe0e\ufe0f":
        return drawn
    scripted = _in(before, _SELECTED_SCRIPTS) or _in(before, _IDEOGRAPHS)
    return selector in "\ufe00\ufe01\ufe02" and (scripted or unicodedata.category(before) == "Sm")


def _hyphenates(text: str, place: int) -> bool:
    """Whether a soft hyphen stands behind a part of a word with two letters or more."""
    before, after = text[max(place - 2, 0) : place], text[place + 1 : place + 3]
    alone = after[:1].isalpha() and not after[1:].isalpha()
    return len(before) == 2 and before.isalpha() and not alone and after[:1] != _SOFT_HYPHEN  # noqa: PLR2004 - letters


def _is_emoji(character: str) -> bool:
    return unicodedata.category(character) == "So" or 0x1F3FB <= ord(character) <= 0x1F3FF  # noqa: PLR2004 - skin tones


def _is_latin(character: str) -> bool:
    return character.isalpha() and ord(character) < 0x0250  # noqa: PLR2004 - end of Latin Extended-B


def _in(character: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    return bool(character) and any(low <= ord(character) <= high for low, high in blocks)
