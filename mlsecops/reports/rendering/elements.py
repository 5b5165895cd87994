"""SVG elements that charts and diagrams share: frame, text, line and path.

coordinates in pixels and a CSS class → `tag` → Markup
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from mlsecops.reports.rendering.markup import Child, Markup, number, tag

Anchor: TypeAlias = Literal["start", "middle", "end"]


def svg(title: str, *parts: Child, width: float, height: float) -> Markup:
    """An SVG element with a title for screen readers; sizes in pixels."""
    return tag(
        "svg", tag("title", title), *parts, viewBox=f"0 0 {width:g} {height:g}", width=width,
        height=height, role="img", xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def label(text: str, x: float, y: float, class_: str, anchor: Anchor | None = None) -> Markup:
    """One line of text; `anchor` is the end of the text that is at x.

    Examples:
        >>> label("5 %", 10, 20, "small", "end")
        '<text x="10" y="20" class="small" text-anchor="end">5 %</text>'
    """
    return tag("text", text, x=x, y=y, class_=class_, text_anchor=anchor)


def line(start: tuple[float, float], end: tuple[float, float], class_: str) -> Markup:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return tag("line", x1=x1, x2=x2, y1=y1, y2=y2, class_=class_)


def path(points: Iterable[tuple[float, float]], class_: str, *, closed: bool = False) -> Markup:
    """A path through points.

    Examples:
        >>> path([(0, 0), (1.5, 2)], "line")
        '<path d="M0 0L1.5 2" class="line"></path>'
    """
    corners = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return tag("path", d=f"M{corners}{'Z' if closed else ''}", class_=class_)
