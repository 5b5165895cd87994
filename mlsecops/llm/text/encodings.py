"""Decoding of obfuscated text: every plausible reading, nested encodings included.

text → `DecodedText`s: base64, base32 and hex at any offset, URL, HTML and string escapes, character
codes, rot13, reversed text and invisible characters. Decoding is speculative: text that was never
encoded also gives readings, without sense.

Source: RFC 4648 (base64, base32, hex); RFC 3986, section 2.1 (percent-encoding); RFC 2045, section
6.7 (quoted-printable).
"""

from __future__ import annotations

import binascii
import html
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias
from urllib.parse import unquote

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.llm.text.unicode import concealed

__all__ = ["DecodedText", "readings"]

MOST_DECODED: Final = 200_000  # characters decoded again; chosen: a second or two for any text

Decoder: TypeAlias = Callable[[str, int], Iterator[str]]

_TEXT: Final = "[^\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_BLANK: Final = re.compile(r"[\s\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u00ad]+")
_NOT_64: Final = re.compile(r"[^A-Za-z0-9+/]+")
_NOT_WORDS: Final = re.compile(r"[\W_]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+")
_BASE32: Final = re.compile(r"[a-z2-7]+", flags=re.IGNORECASE | re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]+", flags=re.IGNORECASE | re.ASCII)
_HEX_MARK: Final = re.compile(r"\\x|0x|\\u00|%u00|&#x|u\+00", flags=re.IGNORECASE | re.ASCII)
_HEX_MARKS: Final = ("\\x", "0x", "\\u00", "%u00", "&#x", "u+00")
_ESCAPE: Final = re.compile(
    r"\\u\{?([0-9a-f]{4,6})\}?|\\x([0-9a-f]{2})", flags=re.IGNORECASE | re.ASCII
)
_CODES: Final = re.compile(r"(?:\b[0-9]{2,3}\b[^0-9a-zA-Z]{1,3}){3,}[0-9]{2,3}\b")
_BITS: Final = re.compile(r"(?:\b[01]{7,8}\b\W{0,16}){4,}")
_LONG_REFERENCE: Final = re.compile("&#[0-9]{8,};?")  # no character: html.unescape cannot read it
_LAST: Final = 0x10FFFF  # code point; the last one of Unicode (Unicode Standard, D9)
_DIGIT: Final = re.compile("[0-9]")
_ROT13: Final = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)
_DIGITS_32: Final = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnopqrstuv"
)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedText:
    """A text after some encodings were undone.

    Attributes:
        how: Names of those encodings, outermost first; empty for the original text.
        text: The decoded text.
    """

    how: tuple[str, ...]
    text: str


@checked
def readings(text: str, *, depth: int = 2, shortest: int = 8) -> Iterator[DecodedText]:
    """Yield the text and its decoded readings, the least nested first.

    After `MOST_DECODED` characters of decoded readings nothing is decoded again.

    Args:
        text: Any text.
        depth: Most encodings nested in each other.
        shortest: Fewest characters of a decoded part; shorter ones are noise.

    Examples:
        >>> [each.how for each in readings("call aWdub3JlIHJ1bGVz") if "ignore" in each.text][0]
        ('base64',)
    """
    waiting, seen = deque([DecodedText(how=(), text=text)]), {text}
    left = MOST_DECODED
    while waiting:
        reading = waiting.popleft()
        yield reading
        if reading.how:
            left -= len(reading.text)
        for name, decode in _DECODERS.items() if left >= 0 and len(reading.how) < depth else ():
            for decoded in decode(reading.text, shortest):
                if len(decoded) >= shortest and decoded not in seen:
                    seen.add(decoded)
                    waiting.append(DecodedText(how=(*reading.how, name), text=decoded))


def _printed(raw: bytes, shortest: int) -> str:
    """Parts of decoded bytes that can be text, one a line."""
    # UTF-16 of Latin letters has a zero in every other byte.
    text = raw.replace(b"\x00", b"").decode("utf-8", errors="replace")
    return "\n".join(_long_text(shortest).findall(text))


@cache
def _long_text(shortest: int) -> re.Pattern[str]:
    return re.compile(f"{_TEXT}{{{shortest},}}")


def _without(pattern: re.Pattern[str]) -> Callable[[str], str]:
    """A function that removes what a pattern of single characters matches; quick for ASCII."""
    gone = bytes(point for point in range(128) if pattern.fullmatch(chr(point)))

    def kept(text: str) -> str:
        if text.isascii():
            return text.encode("ascii").translate(None, gone).decode("ascii")
        return pattern.sub("", text)

    return kept


_unblanked, _only_64, _only_words = map(_without, (_BLANK, _NOT_64, _NOT_WORDS))


def _aligned(
    runs: list[str], step: int, bits: int, decode: Callable[[str], bytes], shortest: int
) -> Iterator[str]:
    """Decode all runs from each offset, since text in front of an encoded part shifts it."""
    least = -(-8 * shortest // bits)  # characters of so many bytes
    runs = [run for run in runs if len(run) >= least]
    for offset in range(step) if runs else ():
        long = [run[offset:] for run in runs if len(run) - offset >= least]
        yield "\n".join([part for run in long if (part := _printed(decode(run), shortest))])


def _base64(text: str, shortest: int) -> Iterator[str]:
    standard = text.replace("-", "+").replace("_", "/")
    for view in (text, _unblanked(standard), _only_64(text)):
        yield from _aligned(_BASE64.findall(view), 4, 6, _from_64, shortest)


def _from_64(run: str) -> bytes:
    whole = run[:-1] if len(run) % 4 == 1 else run
    return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))


def _base32(text: str, shortest: int) -> Iterator[str]:
    for view in (text, _only_words(text)):
        yield from _aligned(_BASE32.findall(view), 8, 5, _from_32, shortest)


def _from_32(run: str) -> bytes:
    bits = 5 * len(run)
    value = int(run.upper().translate(_DIGITS_32), 32)  # base64.b32decode is slow
    return (value >> bits % 8).to_bytes(bits // 8, "big")


def _hex(text: str, shortest: int) -> Iterator[str]:
    small = text.lower()
    marked = any(mark in small for mark in _HEX_MARKS)
    digits = _only_words(_HEX_MARK.sub("", text) if marked else text)
    yield from _aligned(_HEX.findall(digits), 2, 4, _from_hex, shortest)


def _from_hex(run: str) -> bytes:
    return bytes.fromhex(run[: len(run) // 2 * 2])


def _url(text: str, _shortest: int) -> Iterator[str]:
    yield unquote(text)
    yield unquote(text.replace("=", "%"))  # quoted-printable


def _escapes(text: str) -> str:
    def shown(match: re.Match[str]) -> str:
        point = int(match[1] or match[2], 16)
        return chr(point) if point <= _LAST else match[0]

    return _ESCAPE.sub(shown, text) if "\\" in text else text


def _references(text: str) -> str:
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text) if "&#" in text else text)


def _codes(text: str, shortest: int) -> Iterator[str]:
    """Decode character codes in decimal or binary."""
    for pattern, base in ((_CODES, 10), (_BITS, 2)) if _DIGIT.search(text) else ():
        runs = (re.findall("[0-9]+", match[0]) for match in pattern.finditer(text))
        decoded = (bytes(min(int(code, base), 255) for code in run) for run in runs)
        yield "\n".join(part for run in decoded if (part := _printed(run, shortest)))


def _single(decode: Callable[[str], str]) -> Decoder:
    """A decoder with one reading, whose parts may be of any length."""
    return lambda text, _shortest: iter((decode(text),))


_DECODERS: Final[Mapping[str, Decoder]] = {
    "hidden": _single(concealed),
    "base64": _base64,
    "base32": _base32,
    "hex": _hex,
    "url": _url,
    "html": _single(_references),
    "escapes": _single(_escapes),
    "codes": _codes,
    "rot13": _single(lambda text: text.translate(_ROT13)),
    "reversed": _single(lambda text: text[::-1]),
}
