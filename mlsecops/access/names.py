"""Normal form of subjects, actions and resources, and patterns that match it.

name → `normal_name` → one spelling, or None; pattern → `compiled` → `NamePattern.matches`

`*` stays within one segment of a path, `**` is any number of segments. Matching is linear without
backtracking: what stands between two `**` takes its first place, found by text search where it has
no star; other comparisons end at a budget of the whole decision.

Source: Unicode Standard Annex #15 (normalisation forms); RFC 3986, sections 2.1 (percent-encoding)
and 6.2 (comparison ladder); gitignore(5), "Pattern format", for `**`.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from mlsecops.errors import LimitExceeded

__all__ = ["LONGEST_NAME", "AskedName", "MatchBudget", "NamePattern", "compiled", "normal_name"]

LONGEST_NAME: Final = 1 << 16  # characters; chosen: 16 times PATH_MAX of Linux
_CACHED: Final = 4096  # patterns; chosen: more than a policy that people read
_MOST_PLACES: Final = 5_000  # compared segments; measured: under 10 ms (benchmarks/access.py)
_SEARCHED: Final = 64  # characters of a text search that cost as one comparison; measured
_DOTS: Final = frozenset({".", ".."})
_STRUCTURE: Final = "/.\\%*"  # characters with a meaning in some path or pattern
_PERCENT: Final = re.compile("%[0-9A-Fa-f]{2}")
_ANY: Final = "**"

Glob = tuple[str, ...]
"""A segment, split at its stars."""


class MatchBudget:
    """Compared segments that one decision may still take."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST_PLACES

    def spend(self, count: int) -> None:
        """Take some.

        Raises:
            LimitExceeded: There are not so many left.
        """
        self.left -= count
        if self.left < 0:
            raise LimitExceeded(f"names and patterns: more than {_MOST_PLACES} comparisons")


class AskedName:
    """A name in normal form, cut into segments where a pattern needs them.

    Args:
        text: The name in normal form.
        budget: Budget of the decision.
    """

    __slots__ = ("_places", "budget", "parts", "text")

    def __init__(self, text: str, budget: MatchBudget) -> None:
        self.text = text
        self.parts = text.split("/")
        self.budget = budget
        self._places: list[int] | None = None

    def find(self, block: str, start: int, stop: int) -> int | None:
        """The first segment from `start` on at which a text of whole segments stands.

        Args:
            block: Segments with a slash before, between and after them.
            start: The first segment that may be its first.
            stop: The segment before which it ends.
        """
        if self._places is None:
            lengths = (len(part) + 1 for part in self.parts)
            self._places = list(accumulate(lengths, initial=0))
        places = self._places
        found = f"/{self.text}/".find(block, places[start], places[stop] + 1)
        read = (places[stop] if found < 0 else found) - places[start]
        self.budget.spend(1 + read // _SEARCHED)
        return None if found < 0 else bisect_left(places, found)


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
    parts = _segments(name)
    if _DOTS.intersection(parts) or any(part != part.strip() for part in parts):
        return None
    return "/".join(parts)


def _segments(name: str) -> list[str]:
    """Segments of a path that are not empty."""
    return [part for part in name.split("/") if part]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePattern:
    """A pattern of names in normal form.

    Attributes:
        prefix: Text before the first star, with which every name that matches begins.
        whole: Whether there is no star, so that the prefix is the name.
        blocks: Runs of segments between `**`; None matches all.
        literals: Text of each block between the first and the last that has no star, else None.
        pieces: Texts without a star that every name that matches contains somewhere.
        tail: Whether the pattern ends in `**`, which then is at least one segment.
    """

    prefix: str = ""
    whole: bool = False
    blocks: tuple[tuple[Glob, ...], ...] | None
    literals: tuple[str | None, ...] = ()
    pieces: tuple[str, ...] = ()
    tail: bool = False

    def matches(self, name: AskedName) -> bool:
        """Whether a name matches.

        Raises:
            LimitExceeded: The budget does not suffice.
        """
        if self.whole:
            return name.text == self.prefix
        if self.blocks is None:
            return True
        first, *rest = self.blocks
        parts = name.parts
        if len(first) > len(parts) or not _block(first, parts, 0):
            return False
        if not rest:
            return len(first) == len(parts)
        *middle, last = rest
        if any(piece not in name.text for piece in self.pieces):
            return False
        at, most = len(first), len(parts) - self.tail - len(last)
        for block, text in zip(middle, self.literals, strict=True):
            if at + len(block) > most:
                return False
            found = (
                _first_place(block, name, at, most) if text is None else name.find(text, at, most)
            )
            if found is None:
                return False
            at = found + len(block)
        return at <= most and _block(last, parts, most)


@lru_cache(maxsize=_CACHED)
def compiled(pattern: str) -> NamePattern | None:
    """A pattern, or None where no name in normal form can match its spelling.

    Examples:
        >>> name = AskedName("payments/hr/2024", MatchBudget())
        >>> compiled("payments/*").matches(name), compiled("payments/**").matches(name)
        (False, True)
    """
    normal = normal_name(pattern)
    if not normal:
        return None
    if normal in {"*", _ANY}:
        return NamePattern(blocks=None)
    if "*" not in normal:
        return NamePattern(prefix=normal, whole=True, blocks=None)
    parts = _segments(normal)
    if any(_ANY in part and part != _ANY for part in parts):
        return None
    blocks: list[tuple[Glob, ...]] = []
    places = [-1, *(at for at, part in enumerate(parts) if part == _ANY), len(parts)]
    for start, end in pairwise(places):
        blocks.append(tuple(tuple(part.split("*")) for part in parts[start + 1 : end]))
    literals = tuple(_literal(block) for block in blocks[1:-1])
    return NamePattern(
        prefix=normal.partition("*")[0],
        blocks=tuple(blocks),
        literals=literals,
        pieces=tuple({text for block in blocks[1:-1] for glob in block for text in glob if text}),
        tail=parts[-1] == _ANY,
    )


def _literal(block: Sequence[Glob]) -> str | None:
    """Text of a block without stars, between slashes."""
    if any(len(glob) > 1 for glob in block):
        return None
    return "/".join(("", *(glob[0] for glob in block), ""))


def _first_place(block: tuple[Glob, ...], name: AskedName, start: int, stop: int) -> int | None:
    """The first place of a block, which leaves the most to what follows."""
    for at in range(start, stop - len(block) + 1):
        if _block(block, name.parts, at, name.budget):
            return at
    return None


def _block(
    block: tuple[Glob, ...], parts: Sequence[str], at: int, budget: MatchBudget | None = None
) -> bool:
    for number, glob in enumerate(block):
        if budget is not None:
            budget.spend(1)
        if not _segment(glob, parts[at + number]):
            return False
    return True


def _segment(glob: Glob, text: str) -> bool:
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
