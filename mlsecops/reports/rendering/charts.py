"""Line chart and bar chart as SVG elements of a page.

marks (label, value, tone) → scale, line or bars, labels → Markup
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mlsecops.reports.rendering.elements import label, line, path, svg
from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import Tone
from mlsecops.reports.rendering.text_width import fit, text_width

_HEIGHT: Final = 196.0  # pixels; chosen, as all sizes below
_LEFT: Final = 46.0  # room for the labels of the axis
_RIGHT: Final = 16.0  # margin
_TOP: Final = 26.0  # room for the newest value and the reference
_BOTTOM: Final = 30.0  # room for the labels of the marks
_SMALL: Final = 12.0  # font size
_BAR: Final = 27.0  # height of a bar with its gap

Text = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Width of a chart, and what of it labels and values of bars take, in pixels."""

    width: float
    labels: float
    values: float


BROAD: Final = Room(width=500.0, labels=150.0, values=92.0)
"""Two charts fit side by side on a page of 1,160 pixels; chosen."""
NARROW: Final = Room(width=324.0, labels=112.0, values=76.0)
"""The width within a page of 390 pixels, so that text keeps its size on a phone; chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One value of a chart with its label and tone."""

    label: str
    value: float
    tone: Tone = "info"


def line_chart(
    title: str,
    marks: Sequence[Mark],
    *,
    text: Text,
    top: float | None = None,
    reference: tuple[str, float] | None = None,
    room: Room = BROAD,
) -> Markup:
    """Values over time, oldest first, with an axis up to `top` and a dashed line of reference."""
    values = [mark.value for mark in marks] + ([reference[1]] if reference else [])
    ceiling = top if top is not None else _rounded(max([*values, 0.0]))
    points = [
        (_across(index, len(marks), room), _up(mark.value, ceiling))
        for index, mark in enumerate(marks)
    ]
    dots = [
        tag("circle", cx=x, cy=y, r=4, class_=mark.tone)
        for mark, (x, y) in zip(marks, points, strict=True)
    ]
    return svg(
        title,
        _scale(ceiling, text, room),
        _reference(reference, ceiling, text, room),
        path(points, "info line") if len(points) > 1 else None,
        dots,
        label(f"now {text(marks[-1].value)}", _LEFT, 12, "strong") if marks else None,
        _names(marks, room),
        width=room.width,
        height=_HEIGHT,
    )


def _rounded(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** int(f"{value:e}".partition("e")[2])
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def _across(index: int, count: int, room: Room) -> float:
    length = room.width - _LEFT - _RIGHT - 40
    return _LEFT + 20 + (length * index / (count - 1) if count > 1 else length / 2)


def _up(value: float, ceiling: float) -> float:
    share = min(max(value / ceiling, 0.0), 1.0)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _scale(ceiling: float, text: Text, room: Room) -> list[Markup]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _up(share * ceiling, ceiling)
        parts.append(line((_LEFT, y), (room.width - _RIGHT, y), "grid-line" if share else "axis"))
        parts.append(label(text(share * ceiling), _LEFT - 8, y + 4, "small muted", "end"))
    return parts


def _reference(
    reference: tuple[str, float] | None, ceiling: float, text: Text, room: Room
) -> list[Markup]:
    if reference is None:
        return []
    name, value = reference
    y = _up(value, ceiling)
    return [
        line((_LEFT, y), (room.width - _RIGHT, y), "floor"),
        label(f"{name} {text(value)}", room.width - _RIGHT, 12, "small muted", "end"),
    ]


def _names(marks: Sequence[Mark], room: Room) -> list[Markup]:
    """Labels below the axis, where they change and where there is room for them."""
    parts: list[Markup] = []
    free = 0.0
    for index, mark in enumerate(marks):
        if index and mark.label == marks[index - 1].label:
            continue
        name = fit(mark.label, room.labels, _SMALL)
        half = text_width(name, _SMALL) / 2
        x = min(max(_across(index, len(marks), room), half), room.width - half)
        if x - half >= free:
            free = x + half + 8
            parts.append(label(name, x, _HEIGHT - 10, "small muted", "middle"))
    return parts


def bar_chart(
    title: str,
    marks: Sequence[Mark],
    *,
    text: Text,
    top: float | None = None,
    room: Room = BROAD,
) -> Markup:
    """Values as bars, in the given order; `top` is the value of a full bar."""
    full = top or max((mark.value for mark in marks), default=0.0) or 1.0
    bars = [_bar(mark, _BAR * index + 4, full, text, room) for index, mark in enumerate(marks)]
    return svg(title, bars, width=room.width, height=_BAR * len(marks) + 12)


def _bar(mark: Mark, y: float, full: float, text: Text, room: Room) -> list[Markup]:
    whole = room.width - room.labels - room.values
    length = min(max(mark.value / full, 0.0), 1.0) * whole

    def rect(width: float, class_: str) -> Markup:
        return tag("rect", x=room.labels, y=y + 3, width=width, height=14, rx=3, class_=class_)

    return [
        label(fit(mark.label, room.labels - 10, 13), 0, y + 14, "text"),
        rect(whole, "track"),
        rect(max(length, 2.0) if mark.value else 0.0, mark.tone),
        label(fit(text(mark.value), room.values - 10, 13), room.width, y + 14, "text", "end"),
    ]
