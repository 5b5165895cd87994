"""Text features: length, letters, digits, script, and bits a character by the reference's bigrams.

    texts → characters in 64 classes → bigram model of the reference → bits a character

A text in another language, or an encoded one, takes more bits a character than the reference's.

Source: Cavnar and Trenkle 1994 (languages by character n-grams); Shannon 1951 (bits a character).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Floats

CLASSES: Final = 64  # classes of characters; chosen: a table of pairs takes 32 kB
NUMBERS: Final = ("length", "letters", "digits", "surprise")
_MOST_CHARACTERS: Final = 2_000  # characters read of a text; chosen: bounds the time of a row
_SMOOTHING: Final = 0.5  # of a pair; Jeffreys' prior
_DECIMALS: Final = 3  # of bits; chosen: far below the noise of a text
_LETTERS: Final = 26  # of the Latin alphabet
_DIGIT, _SPACE, _POINT = 26, 27, 28  # classes of digits, white space, punctuation
_OTHER: Final = 32  # first of the classes of other characters, by their block
_FOR_SCRIPT: Final = 40  # letters; chosen: enough to see which script prevails


def _class_table() -> NDArray[np.uint8]:
    """Class of each character with a 16-bit code `(65536,)`."""
    codes = np.arange(0x10000)
    table = (_OTHER + (codes >> 5) % (CLASSES - _OTHER)).astype(np.uint8)
    for code in range(128):
        letter = chr(code)
        if letter.isalpha():
            table[code] = ord(letter.lower()) - ord("a")
        elif letter.isdigit():
            table[code] = _DIGIT
        else:
            table[code] = _SPACE if letter.isspace() else _POINT
    return table


_TABLE: Final = _class_table()


def classes_of(text: str) -> NDArray[np.int64]:
    """Classes of a text's first 2,000 characters."""
    raw = text[:_MOST_CHARACTERS].encode("utf-32-le", errors="surrogatepass")
    codes = np.frombuffer(raw, dtype="<u4")
    return np.asarray(_TABLE[np.minimum(codes, 0xFFFF)], dtype=np.int64)


def bigrams(texts: Sequence[str]) -> Floats:
    """Bits of each pair of neighbouring characters in the reference `(64, 64)`."""
    counts = np.full(CLASSES * CLASSES, _SMOOTHING)
    for text in texts:
        np.add.at(counts, _pairs(text), 1.0)
    table = counts.reshape(CLASSES, CLASSES)
    bits = -np.log2(table / table.sum(axis=1, keepdims=True))
    return np.asarray(np.round(bits, _DECIMALS), dtype=np.float64)  # as a file keeps them


def held_out(texts: Sequence[str]) -> list[float]:
    """Bits a character of each text of the reference, by the pairs of the other texts."""
    pairs = [_pairs(text) for text in texts]
    counts = np.full(CLASSES * CLASSES, _SMOOTHING)
    for each in pairs:
        np.add.at(counts, each, 1.0)
    rows, found = counts.reshape(CLASSES, CLASSES).sum(axis=1), []
    for each in pairs:
        own, first = np.bincount(each, minlength=len(counts)), each // CLASSES
        before = np.bincount(first, minlength=CLASSES)
        shares = (counts - own)[each] / (rows - before)[first]
        found.append(_surprise(-np.log2(shares)))
    return found


def _surprise(bits: Floats) -> float:
    """Mean of bits, rounded: texts of one pattern must not differ by the text that is left out."""
    return round(float(bits.mean()), 1) if len(bits) else 0.0


def _pairs(text: str) -> NDArray[np.int64]:
    """Number of each pair of neighbouring characters."""
    found = classes_of(text)
    return np.asarray(found[:-1] * CLASSES + found[1:], dtype=np.int64)


def features(text: str, bits: Floats) -> tuple[float, float, float, float]:
    """Length in characters, shares of letters and digits, and bits a character."""
    found = classes_of(text)
    size = max(len(found), 1)
    letters = np.count_nonzero((found < _LETTERS) | (found >= _OTHER)) / size
    digits = np.count_nonzero(found == _DIGIT) / size
    pairs = bits[found[:-1], found[1:]]
    return float(len(text)), letters, digits, _surprise(pairs)


def script(text: str) -> str:
    """The script most letters are of (`"LATIN"`, `"CYRILLIC"`, `"CJK"`), or `"NONE"`."""
    seen: dict[str, int] = {}
    left = _FOR_SCRIPT
    for letter in text[:_MOST_CHARACTERS]:
        if letter.isalpha():
            name = unicodedata.name(letter, "OTHER").split(" ")[0]
            seen[name] = seen.get(name, 0) + 1
            left -= 1
            if not left:
                break
    return max(seen, key=lambda name: seen[name]) if seen else "NONE"
