"""How a placed diagram is drawn: an SVG element for a page, or a file of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

from mlsecops.reports.diagram.layout import layout
from mlsecops.reports.diagram.model import (
    Architecture,
    Boundary,
    ControlState,
    Element,
    ElementKind,
)
from mlsecops.reports.diagram.shapes import (
    CHIP_HEIGHT,
    CHIP_SIZE,
    LABEL_SIZE,
    Box,
    Chip,
    DiagramLayout,
    Point,
    Route,
)
from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import FONT, PALETTE, SIGNS
from mlsecops.reports.rendering.text_width import fit, text_width, wrap

DIAGRAM_STYLE: Final = """
svg .zone{fill:var(--page);stroke:var(--none);stroke-width:1.2;stroke-dasharray:7 5}
svg .zone-name{font-size:12px;font-weight:650;letter-spacing:.04em;fill:var(--muted)}
svg .element{fill:var(--surface);stroke:var(--ink);stroke-width:1.3}
svg .name{font-size:14px;font-weight:650;fill:var(--ink)}
svg .kind{font-size:11.5px;fill:var(--muted)}
svg .sign{fill:none;stroke:var(--muted);stroke-width:1.4;stroke-linecap:round}
svg .flow{fill:none;stroke:var(--ink);stroke-width:1.5;stroke-linejoin:round}
svg .head{fill:var(--ink)}svg .label{fill:var(--ink)}
svg .chip{stroke-width:1.2}
svg .chip.good{fill:var(--good-soft);stroke:var(--good)}
svg .chip.warn{fill:var(--warn-soft);stroke:var(--warn);stroke-dasharray:5 3}
svg .chip.bad{fill:var(--bad-soft);stroke:var(--bad);stroke-dasharray:1.5 3;stroke-linecap:round}
svg .dot-sign{font-size:10px;font-weight:700;fill:var(--surface);stroke:none}
"""

_STANDALONE: Final = (
    PALETTE
    + f"svg text{{font-family:{FONT};fill:var(--ink)}}"
    + "svg .backdrop{fill:var(--surface)}"
    + "svg .good{fill:var(--good);stroke:var(--good)}svg .warn{fill:var(--warn);stroke:var(--warn)}"
    + "svg .bad{fill:var(--bad);stroke:var(--bad)}svg .muted{fill:var(--muted)}"
    + "svg text.good,svg text.warn,svg text.bad{stroke:none}"
    + DIAGRAM_STYLE
)
_BOLD: Final = 1.1
_LEGEND_HEIGHT: Final = 46.0
_MEANINGS: Final = {
    ControlState.ENFORCED: "enforced: it refuses",
    ControlState.ADVISORY: "advisory: it tells",
    ControlState.ABSENT: "absent",
}


def architecture_svg(architecture: Architecture) -> str:
    """The diagram as an SVG file with its own style; equal input gives equal bytes."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg_element(architecture, frame="file")}\n'


def svg_element(architecture: Architecture, *, frame: Literal["page", "file"] = "page") -> Markup:
    """The diagram as an SVG element.

    Args:
        architecture: What to draw.
        frame: `"file"` carries its own style and background, `"page"` uses the page's.
    """
    placed = layout(architecture)
    height = placed.height + _LEGEND_HEIGHT
    width = max(placed.width, _legend_width())
    style = None if frame == "page" else Markup(f"<style>{_STANDALONE}</style>")
    backdrop = tag("rect", width=width, height=height, class_="backdrop") if style else None
    return tag(
        "svg",
        tag("title", f"Data flow of {architecture.title}"),
        style,
        backdrop,
        [_zone(boundary, box, placed.routes) for boundary, box in placed.boundaries],
        [_line(route) for route in placed.routes],
        [_element(element, box) for element, box in placed.elements],
        [_words(route) for route in placed.routes],
        _legend(placed),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
    )


def _zone(boundary: Boundary, box: Box, routes: tuple[Route, ...]) -> list[Markup]:
    return [
        _rect(box, "zone", rounding=12),
        tag(
            "text",
            fit(boundary.name.upper(), header_room(box, routes), 12.6 * _BOLD),
            x=box.x + 14,
            y=box.y + 25,
            class_="zone-name",
        ),
    ]


def header_room(frame: Box, routes: tuple[Route, ...]) -> float:
    """Width that a boundary's name may have before its frame or a line from above ends it."""
    left = frame.x + 14
    crossing = [
        x
        for route in routes
        for (x, top), (other, bottom) in pairwise(route.points)
        if x == other
        and left < x < frame.right
        and min(top, bottom) < frame.y + 30
        and max(top, bottom) > frame.y + 12
    ]
    return min([frame.right - 14, *(x - 8 for x in crossing)]) - left


def _rect(box: Box, class_: str, *, rounding: float) -> Markup:
    return tag(
        "rect",
        x=box.x,
        y=box.y,
        width=box.width,
        height=box.height,
        rx=rounding,
        class_=class_,
    )


def _element(element: Element, box: Box) -> list[Markup]:
    middle = box.y + box.height / 2
    names = wrap(element.name, box.width - 60, 14 * _BOLD, most=2)
    notes = wrap(element.note, box.width - 62, 11.5, most=2) if element.note else []
    top = middle - (18 * len(names) + 15 * len(notes)) / 2 + 13
    rounding = 26.0 if element.kind is ElementKind.ACTOR else 8.0
    return [
        tag(
            "g",
            tag("title", f"{element.name} ({element.kind.value})"),
            [
                _rect(box, "element", rounding=rounding),
                *_sign(element.kind, box.x + 25, middle),
                *(
                    tag("text", name, x=box.x + 48, y=top + 18 * index, class_="name")
                    for index, name in enumerate(names)
                ),
                *(
                    tag(
                        "text",
                        note,
                        x=box.x + 48,
                        y=top + 18 * len(names) - 2 + 15 * index,
                        class_="kind",
                    )
                    for index, note in enumerate(notes)
                ),
            ],
        ),
    ]


def _sign(kind: ElementKind, x: float, y: float) -> list[Markup]:
    """A small drawing of what an element is."""
    if kind is ElementKind.ACTOR:
        return [
            tag("circle", cx=x, cy=y - 6, r=5, class_="sign"),
            tag("path", d=f"M{x - 9:g} {y + 11:g}a9 9 0 0 1 18 0", class_="sign"),
        ]
    if kind is ElementKind.STORE:
        side = f"M{x - 9:g} {y - 7:g}v14a9 3.5 0 0 0 18 0v-14"
        return [
            tag("ellipse", cx=x, cy=y - 7, rx=9, ry=3.5, class_="sign"),
            tag("path", d=side, class_="sign"),
        ]
    return [
        tag("rect", x=x - 9, y=y - 9, width=18, height=18, rx=4, class_="sign"),
        tag("path", d=f"M{x - 3:g} {y - 4:g}l5 4l-5 4", class_="sign"),
    ]


def _line(route: Route) -> list[Markup]:
    *_, before, end = route.points
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in _shortened(route.points))
    return [tag("path", d=path, class_="flow"), _head(before, end)]


def _shortened(points: tuple[Point, ...]) -> list[Point]:
    """The line without its last pixels, which the arrow's head covers."""
    *rest, before, end = points
    dx, dy = _direction(before, end)
    return [*rest, before, (end[0] - 8 * dx, end[1] - 8 * dy)]


def _direction(start: Point, end: Point) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    if abs(dx) >= abs(dy):
        return (1.0 if dx > 0 else -1.0, 0.0)
    return (0.0, 1.0 if dy > 0 else -1.0)


def _head(before: Point, end: Point) -> Markup:
    (x, y), (dx, dy) = end, _direction(before, end)
    back = (x - 10 * dx, y - 10 * dy)
    corners = [(x, y), (back[0] - 5 * dy, back[1] + 5 * dx), (back[0] + 5 * dy, back[1] - 5 * dx)]
    path = "M" + "L".join(f"{a:g} {b:g}" for a, b in corners) + "Z"
    return tag("path", d=path, class_="head")


def _words(route: Route) -> list[Markup]:
    labels = [
        tag("text", text, x=x, y=y, class_="label", font_size=LABEL_SIZE)
        for (x, y), text in route.lines
    ]
    return [*labels, *(_chip(chip) for chip in route.chips)]


def _chip(chip: Chip) -> Markup:
    control, box = chip.control, chip.box
    tone, middle = control.state.tone, box.y + box.height / 2
    return tag(
        "g",
        tag("title", f"{control.name}: {control.state.value} ({control.where})"),
        _rect(box, f"chip {tone}", rounding=CHIP_HEIGHT / 2),
        *_dot(control.state, box.x + 12, middle),
        tag(
            "text",
            control.name,
            x=box.x + 23,
            y=middle + 4.2,
            class_="chip-name",
            font_size=CHIP_SIZE,
        ),
    )


def _dot(state: ControlState, x: float, y: float) -> list[Markup]:
    return [
        tag("circle", cx=x, cy=y, r=7, class_=state.tone),
        tag("text", SIGNS[state.tone], x=x, y=y + 3.6, text_anchor="middle", class_="dot-sign"),
    ]


def _legend_width() -> float:
    return 60 + sum(text_width(text, 12) + 50 for text in _MEANINGS.values())


def _legend(placed: DiagramLayout) -> list[Markup]:
    x, y = 36.0, placed.height + 14
    parts: list[Markup] = []
    for state, text in _MEANINGS.items():
        width = text_width(text, 12) + 34
        box = Box(x=x - 12, y=y - 11, width=width, height=CHIP_HEIGHT)
        parts.append(_rect(box, f"chip {state.tone}", rounding=11))
        parts += _dot(state, x, y)
        parts.append(tag("text", text, x=x + 11, y=y + 4.2, font_size=CHIP_SIZE))
        x += width + 16
    return parts
