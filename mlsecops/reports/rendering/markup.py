"""Markup of HTML and SVG with escaped text.

untrusted text → `escape`; text and Markup → `tag`, which escapes what is not Markup → Markup
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

_ILLEGAL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""Characters outside XML 1.0, section 2.2, and bidirectional controls (UAX 9, section 2)."""

_VOID: Final = frozenset({"br", "hr", "img", "link", "meta"})
"""Source: WHATWG, HTML Living Standard, section 13.1.2, void elements."""


class Markup(str):
    """Text that is already escaped."""

    __slots__ = ()


Child: TypeAlias = "str | float | Iterable[Child] | None"


def escape(text: object) -> Markup:
    """Text for an element or a quoted attribute, in HTML and in XML.

    Examples:
        >>> escape("a < b")
        'a &lt; b'
    """
    return Markup(html.escape(_ILLEGAL.sub("\ufffd", str(text)), quote=True))


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        name: Name of the element.
        children: Text (escaped), Markup (unchanged), None (omitted), or iterables of these.
        attributes: Values are escaped and None is omitted; `_` becomes `-`, except at the end
            of a name, where it is dropped (`class_`).

    Examples:
        >>> tag("p", "1 < 2", class_="note")
        '<p class="note">1 &lt; 2</p>'
    """
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children in order."""
    return Markup("".join(_render(child) for child in children))


def number(value: str | float) -> str:
    """A number with at most two decimals and no trailing zeros; text unchanged."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int, float)):
        return escape(child)
    return join(child)
