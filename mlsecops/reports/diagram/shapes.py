"""Geometry of a placed diagram: boxes, chips and routes, in pixels.

Flow → Block (measured label and chips) → Route (placed)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from mlsecops.reports.diagram.model import Boundary, Control, Element, Flow
from mlsecops.reports.rendering.text_width import text_width, wrap

LABEL_SIZE: Final = 12.5  # pixels; chosen: font size of labels, readable at half size
CHIP_SIZE: Final = 12.0  # pixels; chosen: font size of chips
CHIP_HEIGHT: Final = 22.0  # pixels; chosen: font size and padding
CHIP_STEP: Final = 26.0  # pixels; chosen: chip and a gap of 4
LINE_STEP: Final = 16.0  # pixels; chosen: line height of labels
_LABEL_ROOM: Final = 186.0  # pixels; chosen: widest line of a label, a little over a card
_CHIP_EXTRA: Final = 31.0  # pixels; chosen: padding and the dot of a chip

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A control and its place."""

    control: Control
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A flow: corners of its line, text above the line and controls below it."""

    flow: Flow
    points: tuple[Point, ...]
    lines: tuple[tuple[Point, str], ...]
    chips: tuple[Chip, ...]
    text: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramLayout:
    """A placed diagram; sizes in pixels."""

    width: float
    height: float
    boundaries: tuple[tuple[Boundary, Box], ...]
    elements: tuple[tuple[Element, Box], ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Measured label and controls of a flow, without a place."""

    lines: tuple[str, ...]
    chips: tuple[tuple[Control, float], ...]

    @classmethod
    def of(cls, flow: Flow) -> Block:
        """Wrap the label and measure it and the controls."""
        lines = tuple(wrap(flow.label, _LABEL_ROOM, LABEL_SIZE, most=2)) if flow.label else ()
        chips = tuple(
            (control, text_width(control.name, CHIP_SIZE) + _CHIP_EXTRA)
            for control in flow.controls
        )
        return cls(lines, chips)

    @property
    def width(self) -> float:
        """Width of the widest line or chip."""
        widths = [text_width(line, LABEL_SIZE) for line in self.lines]
        return max([*widths, *(width for _, width in self.chips), 60.0])

    @property
    def above(self) -> float:
        """Height above the line."""
        return LINE_STEP * len(self.lines) + 6.0

    @property
    def below(self) -> float:
        """Height below the line."""
        return CHIP_STEP * len(self.chips) + 8.0

    @property
    def height(self) -> float:
        """Height above and below the line."""
        return self.above + self.below

    def route(self, flow: Flow, points: list[Point], *, x: float, line: float) -> Route:
        """Place label and controls at x, above and below a line at y = `line`."""
        first = line - 8.0 - LINE_STEP * (len(self.lines) - 1)
        return Route(
            flow=flow,
            points=tuple(_straightened(points)),
            lines=tuple(
                ((x, first + LINE_STEP * index), text) for index, text in enumerate(self.lines)
            ),
            chips=tuple(
                Chip(
                    control=control,
                    box=Box(x=x, y=line + 8.0 + CHIP_STEP * index, width=width, height=CHIP_HEIGHT),
                )
                for index, (control, width) in enumerate(self.chips)
            ),
            text=Box(x=x, y=line - self.above, width=self.width, height=self.height),
        )


def _straightened(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and (
            kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]
        ):
            kept.pop()
        kept.append(point)
    return kept
