"""Layout of a diagram without overlapping text.

Architecture → columns, gutters, rows, lanes → DiagramLayout

Stages are columns, from left to right, separated by gutters. A flow between neighbouring stages
has its own row in the gutter, with room for its label and controls; a flow over several stages has
its own lane below all columns. Lines turn only in the strips at both sides of a gutter, each on its
own track, where no text is placed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from mlsecops.reports.diagram.model import Architecture, Flow
from mlsecops.reports.diagram.shapes import Block, Box, DiagramLayout, Point, Route

CARD: Final = 164.0  # pixels; chosen: width of an element, for two lines of its name
CARD_HEIGHT: Final = 74.0  # pixels; chosen: name and note in two lines each
_PAD: Final = 14.0  # pixels; chosen: padding of a boundary
_HEADER: Final = 40.0  # pixels; chosen: name of a boundary
_GAP: Final = 26.0  # pixels; chosen: between elements
_STACK_GAP: Final = 34.0  # pixels; chosen: between boundaries of a stage
_PORT: Final = 16.0  # pixels; chosen: from the corner of an element to its outermost line
_TRACK: Final = 7.0  # pixels; chosen: between parallel lines
_ROW_GAP: Final = 18.0  # pixels; chosen: between flows
_TOP: Final = 12.0  # pixels; chosen: margin
_SIDE: Final = 12.0  # pixels; chosen: margin


def layout(architecture: Architecture) -> DiagramLayout:
    """Place an architecture; the result is deterministic."""
    return _Placing(architecture).result()


class _Placing:
    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.stages = sorted({each.stage for each in architecture.boundaries})
        self.column_of = {
            each.id: self.stages.index(architecture.stage_of(each.id))
            for each in architecture.elements
        }
        self.blocks = {index: Block.of(flow) for index, flow in enumerate(architecture.flows)}
        self.gutters: dict[int, list[int]] = defaultdict(list)
        self.stacked: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.lanes: list[int] = []
        self._sort_flows()
        self.left_of, self.gutter_at = self._columns()
        self.boxes: dict[str, Box] = {}
        self.frames: dict[str, Box] = {}
        self.rows: dict[int, float] = {}

    def _sort_flows(self) -> None:
        for index, flow in enumerate(self.architecture.flows):
            first, last = sorted((self.column_of[flow.source], self.column_of[flow.target]))
            if first == last:
                places = [each.id for each in self.architecture.column(self.stages[first])]
                upper, lower = sorted((flow.source, flow.target), key=places.index)
                self.stacked[upper, lower].append(index)
            elif last - first == 1:
                self.gutters[first].append(index)
            else:
                self.lanes.append(index)

    def _strip(self, gutter: int) -> float:
        """Width of the strip at each side of a gutter, with a track for each line that may turn."""
        passing = [
            index
            for index in self.lanes
            if gutter in self._lane_gutters(self.architecture.flows[index])
        ]
        return _TRACK * (len(self.gutters[gutter]) + len(passing) + 2)

    def _lane_gutters(self, flow: Flow) -> tuple[int, int]:
        """Gutters in which a flow over several stages descends and ascends."""
        start, end = self.column_of[flow.source], self.column_of[flow.target]
        return (start, end - 1) if start < end else (start - 1, end)

    def _columns(self) -> tuple[list[float], list[Box]]:
        x, columns, regions = _SIDE, [], []
        for column in range(len(self.stages)):
            columns.append(x)
            x += CARD + 2 * _PAD + self._stacked_room(column)
            if column + 1 < len(self.stages):
                inside = [self.blocks[index].width for index in self.gutters[column]]
                inside += [
                    self.blocks[index].width
                    for index in self.lanes
                    if min(self._lane_gutters(self.architecture.flows[index])) == column
                ]
                strip = self._strip(column)
                width = max([*inside, 40.0])
                regions.append(Box(x=x + strip, y=0.0, width=width, height=0.0))
                x += width + 2 * strip
        return columns, regions

    def _stacked_room(self, column: int) -> float:
        widths = [
            self.blocks[index].width + 20.0 + 10.0 * len(flows) - CARD
            for (upper, _), flows in self.stacked.items()
            if self.column_of[upper] == column
            for index in flows
        ]
        return max([0.0, *widths])

    def card_width(self, column: int) -> float:
        return CARD + self._stacked_room(column)

    def result(self) -> DiagramLayout:
        for column in range(len(self.stages)):
            self._place_column(column)
            self._place_rows(column)
        bottom = max([frame.bottom for frame in self.frames.values()], default=_TOP)
        bottom = max([bottom, *(y + self.blocks[i].below for i, y in self.rows.items())])
        routes = {index: self._row_route(index) for index in self.rows}
        routes |= self._stacked_routes()
        lanes, height = self._lane_routes(bottom + _GAP)
        routes |= lanes
        return DiagramLayout(
            width=self.left_of[-1] + self.card_width(len(self.stages) - 1) + 2 * _PAD + _SIDE,
            height=height + _TOP,
            boundaries=tuple(
                (each, self.frames[each.id])
                for each in self.architecture.boundaries
                if each.id in self.frames
            ),
            elements=tuple((each, self.boxes[each.id]) for each in self.architecture.elements),
            routes=tuple(routes[index] for index in sorted(routes)),
        )

    def _place_column(self, column: int) -> None:
        x, y = self.left_of[column], _TOP
        above: str | None = None
        for boundary in self.architecture.boundaries:
            members = [each for each in self.architecture.elements if each.boundary == boundary.id]
            if boundary.stage != self.stages[column] or not members:
                continue
            top = y + self._between(above, members[0].id)
            y = max(top, self._wanted(column, members[0].id) - _HEADER) + _HEADER
            top = y - _HEADER
            for place, element in enumerate(members):
                if place:
                    y += _GAP + self._between(above, element.id)
                y = max(y, self._wanted(column, element.id))
                height = self._need(column, element.id)
                self.boxes[element.id] = Box(
                    x=x + _PAD, y=y, width=self.card_width(column), height=height
                )
                y += height
                above = element.id
            width = self.card_width(column) + 2 * _PAD
            self.frames[boundary.id] = Box(x=x, y=top, width=width, height=y + _PAD - top)
            y += _PAD + _STACK_GAP

    def _between(self, upper: str | None, lower: str) -> float:
        flows = self.stacked.get((upper or "", lower), [])
        return sum(self.blocks[index].height for index in flows)

    def _wanted(self, column: int, element: str) -> float:
        """Height at which an element's first flow from the left is straight."""
        rows = [
            self.rows[index] - self.blocks[index].above
            for index in self.gutters[column - 1]
            if element in self._ends(index)
        ]
        return min(rows, default=0.0)

    def _ends(self, index: int) -> tuple[str, str]:
        flow = self.architecture.flows[index]
        return flow.source, flow.target

    def _need(self, column: int, element: str) -> float:
        sides = (
            [index for index in self.gutters[gutter] if element in self._ends(index)]
            for gutter in (column - 1, column)
        )
        needed = [
            sum(self.blocks[index].height + _ROW_GAP for index in side) - _ROW_GAP for side in sides
        ]
        return max(CARD_HEIGHT, *needed)

    def _place_rows(self, column: int) -> None:
        order = [element.id for element in self.architecture.column(self.stages[column])]
        across = [each.id for each in self.architecture.elements]

        def place(index: int) -> tuple[int, int, int]:
            left, right = sorted(self._ends(index), key=lambda end: self.column_of[end])
            return order.index(left), across.index(right), index

        cursor = 0.0
        for index in sorted(self.gutters[column], key=place):
            left = min(self._ends(index), key=lambda end: self.column_of[end])
            block = self.blocks[index]
            line = max(cursor, self.boxes[left].y) + block.above
            self.rows[index] = line
            cursor = line + block.below + _ROW_GAP

    def _row_route(self, index: int) -> Route:
        flow = self.architecture.flows[index]
        left, right = sorted(self._ends(index), key=lambda end: self.column_of[end])
        gutter = self.column_of[left]
        region, line = self.gutter_at[gutter], self.rows[index]
        track = _TRACK * (1 + self.gutters[gutter].index(index))
        start, end = self._port(left, line), self._port(right, line)
        turn_out, turn_in = region.x - track, region.right + track
        points = [
            (self.boxes[left].right, start),
            (turn_out, start),
            (turn_out, line),
            (turn_in, line),
            (turn_in, end),
            (self.boxes[right].x, end),
        ]
        if flow.source == right:
            points.reverse()
        return self.blocks[index].route(flow, points, x=region.x, line=line)

    def _port(self, element: str, line: float) -> float:
        box = self.boxes[element]
        return min(max(line, box.y + _PORT), box.bottom - _PORT)

    def _stacked_routes(self) -> dict[int, Route]:
        routes = {}
        for (upper, lower), flows in self.stacked.items():
            box, bottom = self.boxes[upper], self.boxes[lower].y
            used = self._below(upper, lower)
            for place, index in enumerate(flows):
                block, flow = self.blocks[index], self.architecture.flows[index]
                x = box.right - 14.0 - 10.0 * place
                points = [(x, box.bottom), (x, bottom)]
                if flow.source == lower:
                    points.reverse()
                routes[index] = block.route(flow, points, x=box.x, line=used + block.above)
                used += block.height
        return routes

    def _below(self, upper: str, lower: str) -> float:
        home = {each.id: each.boundary for each in self.architecture.elements}
        if home[upper] == home[lower]:
            return self.boxes[upper].bottom + 6.0
        return self.frames[home[upper]].bottom + 10.0

    def _lane_routes(self, top: float) -> tuple[dict[int, Route], float]:
        routes: dict[int, Route] = {}
        for place, index in enumerate(self.lanes):
            flow, block = self.architecture.flows[index], self.blocks[index]
            line = top + block.above
            ends = []
            for end, gutter in zip(self._ends(index), self._lane_gutters(flow), strict=True):
                ends.append(self._lane_end(index, end, gutter, place))
            (out, turn_out), (into, turn_in) = ends
            points = [out, (turn_out, out[1]), (turn_out, line)]
            points += [(turn_in, line), (turn_in, into[1]), into]
            x = self.gutter_at[min(self._lane_gutters(flow))].x
            routes[index] = block.route(flow, points, x=x, line=line)
            top = line + block.below + _ROW_GAP
        return routes, top if self.lanes else top - _GAP

    def _lane_end(self, index: int, element: str, gutter: int, place: int) -> tuple[Point, float]:
        """Point at which a line meets an element, and x of the track to its lane."""
        region, box = self.gutter_at[gutter], self.boxes[element]
        track = _TRACK * (1 + len(self.gutters[gutter]) + place)
        height = box.bottom - 9.0 - 8.0 * (index % 3)
        if self.column_of[element] == gutter:
            return (box.right, height), region.x - track
        return (box.x, height), region.right + track
