"""Normal form of subjects, actions and resources, and patterns that match it.

name → `normal_name` → one spelling, or None; pattern → `compiled` → `NamePattern.matches`

`*` stays within one segment of a path, `**` is any number of segments. Matching takes at most
segments of the pattern × segments of the name steps, without backtracking.

Source: Unicode Standard Annex #15 (normalisation forms); RFC 3986, sections 2.1 (percent-encoding)
and 6.2 (comparison ladder); gitignore(5), "Pattern format", for `**`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

__all__ = ["LONGEST_NAME", "NamePattern", "compiled", "normal_name", "segments"]

LONGEST_NAME: Final = 1 << 16  # characters; chosen: 16 times PATH_MAX of Linux
_CACHED: Final = 4096  # patterns; chosen: more than a policy that people read
_DOTS: Final = frozenset({".", ".."})
_STRUCTURE: Final = "/.\\%*"  # characters with a meaning in some path or pattern
_PERCENT: Final = re.compile("%[0-9A-Fa-f]{2}")
_ANY: Final = "**"


def normal_name(name: str) -> str | None:
    r"""The one spelling under which a name is compared, or None for a name that has none.

    Empty segments and slashes at either end are dropped, and Unicode becomes NFC. None are names
    that a storage system may read as another one: with control or invisible characters, `.` or
    `..` as a segment, blanks at a segment's end, backslashes, percent-encoding, or letters that
    stand for a slash or a dot.

    Examples:
        >>> normal_name("payments//hr/")
        'payments/hr'
        >>> normal_name("payments/./hr") is None, normal_name("payments%2Fhr") is None
        (True, True)
    """
    if len(name) > LONGEST_NAME or not name.isprintable() or "\\" in name or _PERCENT.search(name):
        return None
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
        plain = unicodedata.normalize("NFKC", name)
        if any(plain.count(sign) != name.count(sign) for sign in _STRUCTURE):
            return None
    parts = segments(name)
    if _DOTS.intersection(parts) or any(part != part.strip() for part in parts):
        return None
    return "/".join(parts)


def segments(name: str) -> list[str]:
    """Segments of a path that are not empty."""
    return [part for part in name.split("/") if part]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePattern:
    """A pattern of names in normal form.

    Attributes:
        blocks: Runs of segments between `**`, each segment split at its stars; None matches all.
        size: Number of segments, which bounds the steps for each segment of a name.
        tail: Whether the pattern ends in `**`, which then is at least one segment.
    """

    blocks: tuple[tuple[tuple[str, ...], ...], ...] | None
    size: int
    tail: bool = False

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether the segments of a name match."""
        if self.blocks is None:
            return bool(parts)
        first, *rest = self.blocks
        end = len(parts) - self.tail
        if not _block(first, parts, 0, len(parts)):
            return False
        if not rest:
            return len(first) == len(parts)
        *middle, last = rest
        at, most = len(first), end - len(last)
        for block in middle:  # the first place leaves the most to what follows
            while at + len(block) <= most and not _block(block, parts, at, most):
                at += 1
            at += len(block)
        return at <= most and _block(last, parts, most, len(parts))


@lru_cache(maxsize=_CACHED)
def compiled(pattern: str) -> NamePattern | None:
    """A pattern, or None where no name in normal form can match its spelling.

    Examples:
        >>> compiled("payments/*").matches(["payments", "hr", "2024"])
        False
        >>> compiled("payments/**").matches(["payments", "hr", "2024"])
        True
    """
    normal = normal_name(pattern)
    if not normal:
        return None
    if normal in {"*", _ANY}:
        return NamePattern(blocks=None, size=1)
    parts = segments(normal)
    if any(_ANY in part and part != _ANY for part in parts):
        return None
    blocks: list[tuple[tuple[str, ...], ...]] = []
    places = [-1, *(at for at, part in enumerate(parts) if part == _ANY), len(parts)]
    for start, end in pairwise(places):
        blocks.append(tuple(tuple(part.split("*")) for part in parts[start + 1 : end]))
    return NamePattern(blocks=tuple(blocks), size=len(parts), tail=parts[-1] == _ANY)


def _block(block: tuple[tuple[str, ...], ...], parts: Sequence[str], at: int, end: int) -> bool:
    return at + len(block) <= end and all(
        _segment(glob, parts[at + number]) for number, glob in enumerate(block)
    )


def _segment(glob: tuple[str, ...], text: str) -> bool:
    """Whether a segment matches: each star takes the first match of what follows."""
    first, *middle = glob
    if not middle:
        return text == first
    last = middle.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
