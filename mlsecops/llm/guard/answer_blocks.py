"""Blocks of an answer that comes in pieces: each is judged once it is complete.

pieces → `AnswerBlocks` → code of a fence, whole blocks, or parts of a block that is too long

Where a block ends depends on the text alone and never on how it was split, so that a stream gives
what the whole gives. A block ends in front of a line without indentation behind a blank one, where
no construct of markdown goes on; a fence at the top ends it, too. What is held back is bounded: a
longer block is cut at a space, and its parts are loose: nobody knows what is code in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from mlsecops.llm.guard.markdown_view import opens_fence
from mlsecops.llm.text.unicode import sanitise

__all__ = ["HELD", "AnswerBlock", "AnswerBlocks"]

HELD: Final = 4000
"""Most bytes that are held back, below the contract's 4 KiB."""
_FENCE: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})", re.MULTILINE)
_PADDED: Final = re.compile(r"^( {0,3}(?:`+|~+))[ \t]+(?=\S|$)")
_ITEM: Final = re.compile(r"[-+*] +\S|#{1,6} ")
_NUMBERED: Final = re.compile(r"\d{1,9}[.)] +\S")
_TAGGED: Final = re.compile(r"^[ \t>*+\-0-9.)]*<", re.MULTILINE)
_TOKEN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/@%?&=+#~-_\\,;!$*'()[]<`"
)
_WORD: Final = re.compile(r"[A-Za-z0-9]{2}")


@dataclass(frozen=True, slots=True)
class AnswerBlock:
    """A part of an answer.

    Attributes:
        kind: `"code"`: of a fence; `"block"`: whole; `"loose"`: cut out of a longer one.
        text: Its text.
        escape: Whether its tags have to be escaped, for dialects differ on what follows.
    """

    kind: Literal["code", "block", "loose"]
    text: str
    escape: bool = False


class AnswerBlocks:
    """The blocks of an answer.

    Attributes:
        removed: Invisible characters removed so far.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._rest = ""
        self._lines: list[str] = []
        self._size = 0
        self._fence: tuple[str, int] | None = None
        self._loose = self._dropping = False

    def feed(self, text: str) -> Iterator[AnswerBlock]:
        """Take a piece; yield what is complete."""
        self._rest += text
        yield from self._advance(end=False)

    def close(self) -> Iterator[AnswerBlock]:
        """Yield the rest."""
        yield from self._advance(end=True)
        yield from self._flushed()

    def _advance(self, *, end: bool) -> Iterator[AnswerBlock]:
        while self._rest:
            if self._dropping:
                left = re.search(r"\s", self._rest)
                self._rest = "" if left is None else self._rest[left.start() :]
                self._dropping = left is None
                continue
            if not end and self._rest[-1] == "\r" and self._rest.find("\n") < 0:
                held, self._rest = "\r", self._rest[:-1]
            else:
                held = ""
            line, whole = self._next(end=end and not held)
            if line is None:
                self._rest += held
                return
            if whole:
                yield from self._taken(line)
            else:
                yield from self._cut(line)
            self._rest += held

    def _next(self, *, end: bool) -> tuple[str | None, bool]:
        """The next line, or the start of one that is too long; None if more has to come."""
        place = self._rest.find("\n") + 1
        room = HELD - self._size
        line = self._rest[:place] if place else self._rest
        if _bytes(line) > room:
            return line, False
        if not place and not end:
            return None, True
        self._rest = self._rest[len(line) :]
        return line, True

    def _taken(self, line: str) -> Iterator[AnswerBlock]:
        for each in self._clean(line):
            yield from self._placed(each)

    def _clean(self, text: str) -> list[str]:
        seen = sanitise(re.sub(r"\r(?!\n)", "\n", text), plain=False)
        self.removed += sum(seen.removed.values())
        return re.findall(r"[^\n]*\n|[^\n]+", seen.text)

    def _placed(self, line: str) -> Iterator[AnswerBlock]:
        if self._fence is not None:
            yield self._coded(line)
            return
        blank = not line.strip()
        ended = self._lines and not self._lines[-1].strip() and not line[:1].isspace()
        if (ended or self._begins_item(line)) and not blank:
            yield from self._flushed()
            self._loose = False if ended else self._loose
        fence = _FENCE.match(line)
        if fence is not None and self._loose:
            line = f"{line[: fence.start(1)]}\\{line[fence.start(1) :]}"
        elif fence is not None:
            opens, agreed = opens_fence("".join([*self._lines, line]))
            if opens:
                yield from self._flushed(escape=not agreed)
                self._fence = fence[1][0], len(fence[1])
                yield AnswerBlock("code", line)
                return
        self._lines.append(line)
        self._size += _bytes(line)

    def _begins_item(self, line: str) -> bool:
        """Whether a line begins an item or a heading at the top, where no paragraph goes on."""
        if not self._lines or self._loose or _TAGGED.search("".join(self._lines)):
            return False
        numbered = _NUMBERED.match(line) and _NUMBERED.match(self._lines[0])
        return bool(_ITEM.match(line) or numbered)

    def _coded(self, line: str) -> AnswerBlock:
        plain = _PADDED.sub(r"\1 ", line) if line.strip()[:1] in {"`", "~"} else line
        sign, least = self._fence or ("`", 3)
        found = re.fullmatch(rf" {{0,3}}({re.escape(sign)}{{{least},}})[ \t\r]*\n?", plain)
        if found:
            self._fence = None
        return AnswerBlock("code", plain)

    def _flushed(self, *, escape: bool = False) -> Iterator[AnswerBlock]:
        if self._lines:
            text = "".join(self._lines)
            self._lines.clear()
            self._size = 0
            yield AnswerBlock("loose" if self._loose else "block", text, escape=escape)

    def _cut(self, line: str) -> Iterator[AnswerBlock]:
        """Yield a part of a block, or of a line of code, that is too long to be held back."""
        if self._fence is not None:
            yield from self._cut_code(line)
            return
        room = HELD - self._size
        start = _start(line, room)
        whole = "".join([*self._lines, *self._clean(start)])
        self._rest = self._rest[len(start) :]
        self._lines.clear()
        self._size, self._loose = 0, True
        place = _place(whole)
        if place is None:  # one endless word: what it leads to cannot be known
            self._dropping = True
            yield AnswerBlock("loose", "\u2039text removed\u203a ")
            return
        self._rest = whole[place:] + self._rest
        yield AnswerBlock("loose", whole[:place])

    def _cut_code(self, line: str) -> Iterator[AnswerBlock]:
        start = _start(line, HELD)
        self._rest = self._rest[len(start) :]
        for each in self._clean(start):
            yield AnswerBlock("code", each)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _start(line: str, room: int) -> str:
    """The longest start of a line with so many bytes, and at least one character."""
    raw = line.encode("utf-8", "surrogatepass")[: max(room, 4)]
    return raw.decode("utf-8", "ignore") or line[:1]


def _place(text: str) -> int | None:
    """Where a text can be cut: behind a line or a space, or between signs of no address."""
    for sign in ("\n", " "):
        found = text.rfind(sign)
        if found > len(text) // 4:
            return found + 1
    for place in range(len(text) - 1, len(text) // 2, -1):
        if text[place] not in _TOKEN and text[place - 1] not in _TOKEN:
            return place
    if any(sign in text for sign in ("//", "www.", "\\", "](", "<", "&")):
        return None
    words = list(_WORD.finditer(text, len(text) // 2))
    return words[-1].start() + 1 if words else None
