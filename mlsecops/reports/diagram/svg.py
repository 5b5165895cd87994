"""SVG drawing of a placed diagram, for a page or as a file.

Architecture → `layout` → zones, lines, elements, labels and chips, legend → SVG
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

from mlsecops._choices import checked
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
from mlsecops.reports.rendering.elements import label, path, svg
from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import FILE_STYLE, SIGNS
from mlsecops.reports.rendering.text_width import fit, text_width, wrap

DIAGRAM_STYLE: Final = f"""
svg .zone{{fill:var(--page);stroke:var(--none);stroke-width:1.2;stroke-dasharray:7 5}}
svg .zone-name{{font-size:12px;font-weight:650;letter-spacing:.04em;fill:var(--muted)}}
svg .element{{fill:var(--surface);stroke:var(--ink);stroke-width:1.3}}
svg .name{{font-size:14px;font-weight:650;fill:var(--ink)}}
svg .kind{{font-size:11.5px;fill:var(--muted)}}
svg .sign{{fill:none;stroke:var(--muted);stroke-width:1.4;stroke-linecap:round}}
svg .flow{{fill:none;stroke:var(--ink);stroke-width:1.5;stroke-linejoin:round}}
svg .head{{fill:var(--ink)}}svg .label{{fill:var(--ink);font-size:{LABEL_SIZE:g}px}}
svg .chip{{stroke-width:1.2}}svg .chip-name{{font-size:{CHIP_SIZE:g}px}}
svg .chip.good{{fill:var(--good-soft);stroke:var(--good)}}
svg .chip.warn{{fill:var(--warn-soft);stroke:var(--warn);stroke-dasharray:5 3}}
svg .chip.bad{{fill:var(--bad-soft);stroke:var(--bad);stroke-dasharray:1.5 3;stroke-linecap:round}}
svg .dot-sign{{font-size:10px;font-weight:700;fill:var(--surface);stroke:none}}
"""

_BOLD: Final = 1.1  # factor; chosen: bold text is at most a tenth wider
_LEGEND_HEIGHT: Final = 46.0  # pixels; chosen: one row of chips with margins
_MEANINGS: Final = {
    ControlState.ENFORCED: "enforced: it refuses",
    ControlState.ADVISORY: "advisory: it reports",
    ControlState.ABSENT: "absent",
}


@checked
def architecture_svg(architecture: Architecture) -> str:
    """The diagram as an SVG file with its own style; equal input gives equal bytes."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg_element(architecture, frame="file")}\n'


def svg_element(architecture: Architecture, *, frame: Literal["page", "file"] = "page") -> Markup:
    """The diagram as an SVG element; as a `"file"` with its own style and background."""
    placed = layout(architecture)
    height = placed.height + _LEGEND_HEIGHT
    width = max(placed.width, 60 + sum(text_width(text, 12) + 50 for text in _MEANINGS.values()))
    backdrop = (
        Markup(f"<style>{FILE_STYLE}{DIAGRAM_STYLE}</style>"),
        tag("rect", width=width, height=height, class_="backdrop"),
    )
    return svg(
        f"Data flow of {architecture.title}",
        backdrop if frame == "file" else None,
        [_zone(boundary, box, placed.routes) for boundary, box in placed.boundaries],
        [_line(route) for route in placed.routes],
        [_element(element, box) for element, box in placed.elements],
        [_words(route) for route in placed.routes],
        _legend(placed),
        width=width,
        height=height,
    )


def _zone(boundary: Boundary, box: Box, routes: tuple[Route, ...]) -> list[Markup]:
    name = fit(boundary.name.upper(), header_room(box, routes), 12.6 * _BOLD)
    return [_rect(box, "zone", rounding=12), label(name, box.x + 14, box.y + 25, "zone-name")]


def header_room(frame: Box, routes: tuple[Route, ...]) -> float:
    """Width of a boundary's name, in pixels: to the frame, or to a line that crosses it."""
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
        "rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=rounding, class_=class_
    )


def _element(element: Element, box: Box) -> Markup:
    x, middle = box.x + 48, box.y + box.height / 2
    names = wrap(element.name, box.width - 60, 14 * _BOLD, most=2)
    notes = wrap(element.note, box.width - 62, 11.5, most=2) if element.note else []
    top = middle - (18 * len(names) + 15 * len(notes)) / 2 + 13
    below = top + 18 * len(names) - 2
    return tag(
        "g",
        tag("title", f"{element.name} ({element.kind.value})"),
        _rect(box, "element", rounding=26.0 if element.kind is ElementKind.ACTOR else 8.0),
        _sign(element.kind, box.x + 25, middle),
        [label(name, x, top + 18 * index, "name") for index, name in enumerate(names)],
        [label(note, x, below + 15 * index, "kind") for index, note in enumerate(notes)],
    )


def _sign(kind: ElementKind, x: float, y: float) -> list[Markup]:
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
    """A flow's line, which ends 8 pixels before its target, and the head of its arrow."""
    *rest, before, (x, y) = route.points
    dx, dy = _direction(before, (x, y))
    back = (x - 10 * dx, y - 10 * dy)
    corners = [(x, y), (back[0] - 5 * dy, back[1] + 5 * dx), (back[0] + 5 * dy, back[1] - 5 * dx)]
    shaft = [*rest, before, (x - 8 * dx, y - 8 * dy)]
    return [path(shaft, "flow"), path(corners, "head", closed=True)]


def _direction(start: Point, end: Point) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    if abs(dx) >= abs(dy):
        return (1.0 if dx > 0 else -1.0, 0.0)
    return (0.0, 1.0 if dy > 0 else -1.0)


def _words(route: Route) -> list[Markup]:
    labels = [label(text, x, y, "label") for (x, y), text in route.lines]
    return [*labels, *(_chip(chip) for chip in route.chips)]


def _chip(chip: Chip) -> Markup:
    control, box = chip.control, chip.box
    title = tag("title", f"{control.name}: {control.state.value} ({control.where})")
    return tag("g", title, _badge(control.state, control.name, box))


def _badge(state: ControlState, text: str, box: Box) -> list[Markup]:
    x, y = box.x + 12, box.y + box.height / 2
    return [
        _rect(box, f"chip {state.tone}", rounding=CHIP_HEIGHT / 2),
        tag("circle", cx=x, cy=y, r=7, class_=state.tone),
        label(SIGNS[state.tone], x, y + 3.6, "dot-sign", "middle"),
        label(text, x + 11, y + 4.2, "chip-name"),
    ]


def _legend(placed: DiagramLayout) -> list[Markup]:
    x, parts = 24.0, []
    for state, text in _MEANINGS.items():
        box = Box(x=x, y=placed.height + 3, width=text_width(text, 12) + 34, height=CHIP_HEIGHT)
        parts += _badge(state, text, box)
        x += box.width + 16
    return parts
