"""Markdown view of an answer: its links and images, and its code blocks.

block of an answer → CommonMark and GitHub's dialect, with and without HTML → whether all that is
reached is allowed, and the pieces that are code in all of them

Source: CommonMark 0.31.2; GitHub Flavored Markdown 0.29; markdown-it-py (parser).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from mlsecops._extras import require
from mlsecops.llm.guard.link_patterns import LinkRules

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["View", "opens_fence", "view"]

_CODE: Final = frozenset({"code_inline", "code_block", "fence"})
_HTML: Final = frozenset({"html_inline", "html_block"})
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});")


@cache
def _parsers() -> tuple[MarkdownIt, ...]:
    maker: type[MarkdownIt] = require("markdown_it").MarkdownIt
    with_html = maker("commonmark", {"html": True})
    tables = maker("commonmark", {"html": True}).enable(["table", "strikethrough"])
    github = maker("commonmark", {"html": False}).enable(["table", "strikethrough"])
    for parser in (with_html, tables, github):
        parser.validateLink = lambda _url: True  # type: ignore[method-assign,assignment] # judged by the rules
        parser.normalizeLink = lambda url: url  # type: ignore[method-assign] # as it is written
    return with_html, tables, github


@dataclass(frozen=True, slots=True)
class View:
    """What renderers make of a block.

    Attributes:
        allowed: Whether it leads to allowed hosts only.
        code: Code in its order, the same in all dialects; None if they differ.
    """

    allowed: bool
    code: tuple[tuple[str, str, str], ...] | None


def view(text: str, rules: LinkRules) -> View:
    """The view of a block.

    Args:
        text: A block of an answer, or several.
        rules: What may be reached.
    """
    found = [_seen(parser, text, rules) for parser in _parsers()]
    same = all(code == found[0][1] for _, code in found)
    return View(all(fine for fine, _ in found), found[0][1] if same else None)


def opens_fence(text: str) -> tuple[bool, bool]:
    """Whether the last line of a text opens a fence at the top, and whether all dialects agree."""
    last = text.removesuffix("\n").count("\n")
    found = [_fence_at(parser.parse(text), last) for parser in _parsers()]
    return any(found), all(found)


def _fence_at(tokens: list[Token], line: int) -> bool:
    token = tokens[-1] if tokens else None
    if token is None or token.type != "fence" or token.map is None:
        return False
    return token.level == 0 and token.map[0] == line


def _seen(
    parser: MarkdownIt, text: str, rules: LinkRules
) -> tuple[bool, tuple[tuple[str, str, str], ...]]:
    environment: dict[str, Any] = {}
    tokens = parser.parse(text, environment)
    code = [(each.type, each.markup, each.content) for each in _all(tokens) if each.type in _CODE]
    known = [*environment.get("references", {}).values(), *environment.get("duplicate_refs", ())]
    fine = all(rules.allows_definition(each["href"]) for each in known)
    fine = fine and all(_reaches_allowed(each, rules) for each in _all(tokens))
    words = (each for each in tokens if each.type == "inline")
    fine = fine and all(rules.allows_written(_words(each)) for each in words)
    return fine and _plain_entities(tokens, rules), tuple(code)


def _all(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or [])


def _reaches_allowed(token: Token, rules: LinkRules) -> bool:
    if token.type == "link_open":
        return rules.allows_target(str(token.attrs.get("href", "")))
    if token.type == "image":
        return rules.images.allow(str(token.attrs.get("src", "")))
    return token.type not in _HTML or rules.allows(token.content)


def _words(inline: Token) -> str:
    """Text of a paragraph as it is shown, without its code."""
    shown = (
        " " if each.type in _CODE or each.type.endswith("break") else each.content
        for each in _all(inline.children or [])
        if each.type not in {"image", *_HTML}
    )
    return "".join(shown)


def _plain_entities(tokens: list[Token], rules: LinkRules) -> bool:
    """Whether no entity outside code stands for a sign that readers could take differently."""
    texts = (each.content for each in tokens if each.type == "inline")
    return all(
        rules.allows(entity) for text in texts if "&" in text for entity in _ENTITY.findall(text)
    )
