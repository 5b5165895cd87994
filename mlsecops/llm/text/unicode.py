"""Invisible and confusable Unicode characters.

`sanitise` removes invisible characters (tags, zero-width and bidirectional controls, smuggled
variation selectors) from text on its way to a model; `fold` maps text to a form for comparison, in
which confusable letters are one; `concealed` decodes a message in invisible characters.

Source: Unicode Standard 16, chapter 23 (special areas); UTS #39 (confusables), UTR #36 and UTS #51
(emoji sequences); Boucher and Anderson, "Trojan Source" (2021).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import filterfalse
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.text.needed_characters import RightToLeftLines, is_needed

__all__ = ["Sanitised", "concealed", "fold", "joined", "sanitise"]

_MOST_MARKS: Final = 30  # marks on one letter; UAX #15, section 13 (Stream-Safe Text Format)
_MARKS: Final = re.compile(rf"[^\w\x00-\x7f]{{{_MOST_MARKS + 1}}}")  # marks are no word characters

_TAGS: Final = range(0xE0000, 0xE0080)
_TAG: Final = re.compile("[\U000e0000-\U000e007f]")
_CARRIERS: Final = re.compile("[\U000e0000-\U000e007f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_FLAGS: Final = re.compile(
    "\U0001f3f4(?:"
    + "|".join(
        "".join(chr(0xE0000 + ord(letter)) for letter in region)
        for region in ("gbeng", "gbsct", "gbwls")
    )
    + ")\U000e007f"
)
_KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("tag", "\U000e0000-\U000e007f"),
    ("variation", "\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f"),
    ("bidi", "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"),
    (
        "zero-width",
        (
            "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f"
            "\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
            "\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
        ),
    ),
    ("control", "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"),
    ("surrogate", "\ud800-\udfff"),
)
_UNSEEN: Final = re.compile("|".join(f"([{span}])" for _, span in _KINDS))
_LINES: Final = dict.fromkeys((0x0B, 0x0C, 0x85, 0x2028, 0x2029), "\n")
# Latin letter → code points of letters that look like it in lower case (UTS #39, confusables).
_LOOKALIKES: Final[dict[str, str]] = {
    "a": "0430 0410 03b1 0391 0251 1d00 13aa ab7a",
    "b": "0412 0432 044c 0392 03b2 0299 13f4 15af",
    "c": "0441 0421 03f2 03f9 1d04 13df ab6f 2ca5",
    "d": "0501 0500 1d05 13a0 ab70 0111 0110 0256",
    "e": "0435 0415 03b5 0395 1d07 13ac ab7c 04bd",
    "f": "a730 0192 03dd 0584",
    "g": "0261 0262 0581 13c0 ab90 050d",
    "h": "04bb 041d 043d 0397 029c 0570 13bb ab8b 0127",
    "i": "0456 0406 03b9 0399 0131 0269 026a 13a5 04c0 04cf",
    "j": "0458 0408 03f3 1d0a 0575 13ab ab7b",
    "k": "043a 041a 03ba 039a 1d0b 13e6 abb6",
    "l": "029f 056c 13de abae 0142",
    "m": "043c 041c 039c 1d0d 13b7 ab87",
    "n": "0578 03b7 039d 0274 043f",
    "o": "043e 041e 03bf 039f 03c3 1d0f 0585 0555 00f8 00d8 2c9f",
    "p": "0440 0420 03c1 03a1 1d18 13e2 abb2 2ca3",
    "q": "051b 051a 0566",
    "r": "0433 0280 13a1 ab71",
    "s": "0455 0405 a731 13da abaa 054f",
    "t": "0442 0422 03c4 03a4 1d1b 13a2 ab72",
    "u": "03c5 057d 1d1c 054d",
    "v": "03bd 0475 0474 1d20 13d9 aba9",
    "w": "051d 051c 03c9 1d21 13b3 ab83 0461",
    "x": "0445 0425 03c7 03a7",
    "y": "0443 0423 03b3 03a5 028f 04af 04ae",
    "z": "1d22 0396 13c3 ab93",
}


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitised:
    """A text without invisible characters.

    Attributes:
        text: The cleaned text.
        removed: Kind of character (`tag`, `variation`, `bidi`, `zero-width`, `control`,
            `surrogate`, `mark`: combining marks beyond 30 on one letter) → number removed.
        concealed: The message in invisible characters, for analysis only: an attacker wrote it.
    """

    text: str
    removed: Mapping[str, int] = field(default_factory=dict)
    concealed: str = field(default="", repr=False)

    @property
    def changed(self) -> bool:
        """Whether a character was removed; normalisation alone is no change."""
        return bool(self.removed)


@checked
def sanitise(text: str, *, plain: bool = True) -> Sanitised:
    r"""Remove invisible characters; idempotent.

    What a script or the layout needs stays: emoji sequences and flags, joiners, one variation
    selector behind an ideograph, soft hyphens between parts of a word, marks of direction in
    right-to-left lines. Vertical tabs, form feeds and next lines become line feeds. Superscripts,
    fractions, ligatures, wide punctuation and confusable letters stay, since they carry meaning.

    Args:
        text: Text from a user, a document or a tool.
        plain: Whether font variants and full-width letters become plain and the rest NFC.

    Raises:
        UsageError: `text` is not a str.

    Examples:
        >>> sanitise("pass\u200bword").text
        'password'
    """
    if not isinstance(text, str):
        raise UsageError(f"text: expected str, got {type(text).__name__}")
    if text.isascii() and _UNSEEN.search(text) is None:
        return Sanitised(text=text)
    removed: Counter[str] = Counter()
    message = concealed(text)
    length = len(text)
    text = _stream_safe(text)
    if len(text) < length:
        removed["mark"] = length - len(text)
    before: str | None = None
    while text != before:  # a removal can join characters that then have to go too
        before, text = text, _pass(text, removed, plain=plain)
    return Sanitised(text=text, removed=dict(removed), concealed=message)


def _pass(text: str, removed: Counter[str], *, plain: bool) -> str:
    text = text.translate(_LINES)
    rightward = RightToLeftLines(text)
    flags = {place for match in _FLAGS.finditer(text) for place in range(*match.span())}

    def kept(match: re.Match[str]) -> str:
        kind = _KINDS[(match.lastindex or 1) - 1][0]
        place = match.start()
        if place in flags or is_needed(text, place, kind, rightward):
            return match[0]
        removed[kind] += 1
        return "\ufffd" if kind == "surrogate" else ""

    shown = _UNSEEN.sub(kept, text)
    if shown.isascii() or not plain:
        return shown
    return unicodedata.normalize("NFC", "".join(map(_plain_form, shown)))


def _stream_safe(text: str) -> str:
    """Text with few marks on each letter: normalisation sorts them in quadratic time."""
    if _MARKS.search(text) is None:
        return text
    run, kept = 0, []
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


@cache
def _plain_form(character: str) -> str:
    """The ASCII letter of a font variant or full-width form, else the character itself."""
    form = unicodedata.decomposition(character)
    if form.startswith(("<font>", "<wide>")):
        plain = unicodedata.normalize("NFKC", character)
        letter = plain.isascii() and (plain.isalpha() or form.startswith("<font>"))
        return plain if letter else character
    return character


def concealed(text: str) -> str:
    """Decode the message in tag characters and variation selectors; empty without one."""
    if text.isascii() or _CARRIERS.search(text) is None:
        return ""
    tags = "".join(chr(ord(each) - 0xE0000) for each in text if ord(each) in _TAGS)
    selected = bytes(byte for each in text if (byte := _selector(ord(each))) is not None)
    shown = "".join(each for each in tags if each.isprintable())
    # A lone selector, as after an emoji, is byte 15, which is not printable.
    text = selected.decode("utf-8", errors="ignore")
    return shown + "".join(each for each in text if each.isprintable() or each.isspace())


def _selector(point: int) -> int | None:
    """The byte that a variation selector encodes: VS1 to VS256 are 0 to 255."""
    if 0xFE00 <= point <= 0xFE0F:  # noqa: PLR2004 - VS1 to VS16
        return point - 0xFE00
    return point - 0xE0100 + 16 if 0xE0100 <= point <= 0xE01EF else None  # noqa: PLR2004 - VS17 to VS256


@cache
def _table() -> dict[int, str]:
    """Code point → the Latin letter that it looks like."""
    table: dict[int, str] = {}
    for letter, points in _LOOKALIKES.items():
        for point in points.split():
            table[int(point, 16)] = letter
    for place in range(26):
        for start in (0x1F150, 0x1F170, 0x1F1E6):  # circled, squared, regional indicators
            table[start + place] = chr(ord("a") + place)
    return table


@checked
def fold(text: str, *, lookalikes: bool = True) -> str:
    r"""Map a text to its form for comparison; never pass that form on.

    Args:
        text: Any text.
        lookalikes: Whether letters that look like Latin ones become Latin; False keeps the words of
            other scripts.

    Examples:
        >>> fold("\u0456gn\u043er\u0435 \uff29\u200bT")
        'ignore it'
    """
    return folded(text, lookalikes=lookalikes)


def folded(text: str, *, lookalikes: bool = True) -> str:
    """As `fold`, of arguments that are checked already."""
    return text.lower() if text.isascii() else _small(_drawn(text), lookalikes=lookalikes)


def folded_forms(text: str) -> set[str]:
    """The form for comparison with look-alikes as Latin letters, and the one without."""
    if text.isascii():
        return {text.lower()}
    drawn = _drawn(text)
    return {_small(drawn, lookalikes=True), _small(drawn, lookalikes=False)}


def _drawn(text: str) -> str:
    """What is drawn of a text: no invisible characters, and letters without their marks."""
    shown = _TAG.sub(lambda found: chr(ord(found[0]) - 0xE0000), text)
    spread = unicodedata.normalize("NFKD", _stream_safe(_UNSEEN.sub(_kept_space, shown)))
    return spread if spread.isascii() else "".join(filterfalse(unicodedata.combining, spread))


def _small(drawn: str, *, lookalikes: bool) -> str:
    if not lookalikes or drawn.isascii():
        return unicodedata.normalize("NFKC", drawn.casefold())
    # Some letters look Latin only as capitals, others only in lower case: map before and after.
    table = _table()
    small = unicodedata.normalize("NFKC", drawn.translate(table).casefold())
    return small.translate(table)


def _kept_space(match: re.Match[str]) -> str:
    """A space for vertical tab, form feed and next line, which separate words; else nothing."""
    return " " if match[0] in "\x0b\x0c\x85" else ""


def joined(text: str) -> str:
    """Fold a text and keep letters and digits alone, so that a spaced word is one word."""
    return "".join(filter(str.isalnum, folded(text)))
