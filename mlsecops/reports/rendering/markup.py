"""How untrusted text becomes part of a page or picture: escaped, unless it is Markup already.

`tag` escapes every child and attribute that is not `Markup`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

_ILLEGAL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
"""Not allowed in XML 1.0, or able to reorder what a person reads."""

_VOID: Final = frozenset({"br", "hr", "img", "link", "meta"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = "str | float | Iterable[Child] | None"


def escape(text: object) -> Markup:
    """Text for an element or a quoted attribute, in HTML and in XML."""
    return Markup(html.escape(_ILLEGAL.sub("\ufffd", str(text)), quote=True))


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        name: Its name.
        children: Text (escaped), Markup (as it is), None (nothing), or lists of these.
        attributes: Values are escaped; None leaves one out; `_` in a name stands for `-`, and a
            trailing `_` is dropped (`class_`).
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
    """Children one after another."""
    return Markup("".join(_render(child) for child in children))


def number(value: str | float) -> str:
    """A number with at most two decimals and none that say nothing; text as it is."""
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
