"""What a placed diagram is made of: boxes, chips, and routes with their text; sizes in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from mlsecops.reports.diagram.model import Boundary, Control, Element, Flow
from mlsecops.reports.rendering.text_width import text_width, wrap

LABEL_SIZE: Final = 12.5
CHIP_SIZE: Final = 12.0
CHIP_HEIGHT: Final = 22.0
CHIP_STEP: Final = 26.0
LINE_STEP: Final = 16.0
_LABEL_ROOM: Final = 186.0
_CHIP_EXTRA: Final = 31.0

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
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A control and where it stands."""

    control: Control
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A flow: its line, its label above the line and its controls below it.

    Attributes:
        flow: Which flow.
        points: Corners of the line from source to target.
        lines: Lines of its label with the left end of each one's baseline.
        chips: Its controls.
        text: Rectangle of label and controls.
    """

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
    """Label and controls of a flow before they have a place."""

    lines: tuple[str, ...]
    chips: tuple[tuple[Control, float], ...]

    @classmethod
    def of(cls, flow: Flow) -> Block:
        """Break the label and measure everything."""
        lines = tuple(wrap(flow.label, _LABEL_ROOM, LABEL_SIZE, most=2)) if flow.label else ()
        chips = tuple(
            (control, text_width(control.name, CHIP_SIZE) + _CHIP_EXTRA)
            for control in flow.controls
        )
        return cls(lines, chips)

    @property
    def width(self) -> float:
        """Its widest line or chip."""
        widths = [text_width(line, LABEL_SIZE) for line in self.lines]
        return max([*widths, *(width for _, width in self.chips), 60.0])

    @property
    def above(self) -> float:
        """Room above the line."""
        return LINE_STEP * len(self.lines) + 6.0

    @property
    def below(self) -> float:
        """Room below the line."""
        return CHIP_STEP * len(self.chips) + 8.0

    @property
    def height(self) -> float:
        """Room above and below the line."""
        return self.above + self.below

    def route(self, flow: Flow, points: list[Point], *, x: float, line: float) -> Route:
        """Place label and controls at x, above and below a line at that height."""
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
    """The corners without those on a straight line."""
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
