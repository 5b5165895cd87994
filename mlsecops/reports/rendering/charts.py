"""How series and rankings are drawn: a line over time, and bars, as SVG elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import Tone
from mlsecops.reports.rendering.text_width import fit, text_width

WIDTH: Final = 500.0
_HEIGHT: Final = 196.0
_LEFT: Final = 46.0
_RIGHT: Final = 16.0
_TOP: Final = 26.0
_BOTTOM: Final = 30.0
_SMALL: Final = 12.0
_BAR: Final = 27.0
_LABELS: Final = 150.0
_VALUES: Final = 92.0

Text = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One value of a chart: what it is of, how much, how it is coloured."""

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
) -> Markup:
    """Values over time.

    Args:
        title: What is drawn, for screen readers.
        marks: Values from the oldest to the newest.
        text: Makes text of a value.
        top: Upper end of the axis; the largest value, rounded up, by default.
        reference: Name and value of a dashed line to compare with.
    """
    values = [mark.value for mark in marks] + ([reference[1]] if reference else [])
    ceiling = top if top is not None else _rounded(max([*values, 0.0]))
    points = [
        (_across(index, len(marks)), _up(mark.value, ceiling)) for index, mark in enumerate(marks)
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    line = tag("path", d=path, class_="info line") if len(points) > 1 else None
    return tag(
        "svg",
        tag("title", title),
        _scale(ceiling, text),
        _reference(reference, ceiling, text),
        line,
        [
            tag("circle", cx=x, cy=y, r=4, class_=mark.tone)
            for mark, (x, y) in zip(marks, points, strict=True)
        ],
        _newest(marks, text),
        _names(marks),
        viewBox=f"0 0 {WIDTH:g} {_HEIGHT:g}",
        width=WIDTH,
        role="img",
    )


def _rounded(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** _exponent(value)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _across(index: int, count: int) -> float:
    room = WIDTH - _LEFT - _RIGHT - 40
    return _LEFT + 20 + (room * index / (count - 1) if count > 1 else room / 2)


def _up(value: float, ceiling: float) -> float:
    share = min(max(value / ceiling, 0.0), 1.0)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _scale(ceiling: float, text: Text) -> list[Markup]:
    parts = []
    for quarter in range(0, 5, 2):
        value = ceiling * quarter / 4
        y = _up(value, ceiling)
        class_ = "axis" if quarter == 0 else "grid-line"
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_=class_))
        parts.append(
            tag("text", text(value), x=_LEFT - 8, y=y + 4, text_anchor="end", class_="small muted")
        )
    return parts


def _reference(reference: tuple[str, float] | None, ceiling: float, text: Text) -> list[Markup]:
    if reference is None:
        return []
    name, value = reference
    y = _up(value, ceiling)
    label = f"{name} {text(value)}"
    return [
        tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="floor"),
        tag("text", label, x=WIDTH - _RIGHT, y=12, text_anchor="end", class_="small muted"),
    ]


def _newest(marks: Sequence[Mark], text: Text) -> Markup | None:
    if not marks:
        return None
    return tag("text", f"now {text(marks[-1].value)}", x=_LEFT, y=12, class_="strong")


def _names(marks: Sequence[Mark]) -> list[Markup]:
    """Labels below the axis, each where it changes, and only where there is room for it."""
    parts: list[Markup] = []
    free = 0.0
    for index, mark in enumerate(marks):
        if index and mark.label == marks[index - 1].label:
            continue
        label = fit(mark.label, _LABELS, _SMALL)
        half = text_width(label, _SMALL) / 2
        x = min(max(_across(index, len(marks)), half), WIDTH - half)
        if x - half >= free:
            free = x + half + 8
            parts.append(
                tag("text", label, x=x, y=_HEIGHT - 10, text_anchor="middle", class_="small muted")
            )
    return parts


def bar_chart(
    title: str,
    marks: Sequence[Mark],
    *,
    text: Text,
    top: float | None = None,
    reference: float | None = None,
) -> Markup:
    """Values beside one another, in the given order.

    Args:
        title: What is drawn, for screen readers.
        marks: Values with their names.
        text: Makes text of a value.
        top: Value of a full bar; the largest by default.
        reference: Value of a dashed line through all bars, drawn where it is in range.
    """
    full = top or max([*(mark.value for mark in marks), reference or 0.0]) or 1.0
    height = _BAR * len(marks) + 12
    limit = None if reference is None or reference > full else _length(reference, full)
    line = (
        None
        if limit is None
        else tag(
            "line", x1=_LABELS + limit, x2=_LABELS + limit, y1=2, y2=height - 6, class_="floor"
        )
    )
    return tag(
        "svg",
        tag("title", title),
        [_bar(mark, index, full, text) for index, mark in enumerate(marks)],
        line,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        role="img",
    )


def _length(value: float, full: float) -> float:
    return min(max(value / full, 0.0), 1.0) * (WIDTH - _LABELS - _VALUES)


def _bar(mark: Mark, index: int, full: float, text: Text) -> list[Markup]:
    y = _BAR * index + 4
    room = WIDTH - _LABELS - _VALUES
    label = fit(mark.label, _LABELS - 10, 13)
    value = fit(text(mark.value), _VALUES - 10, 13)
    length = max(_length(mark.value, full), 2.0) if mark.value else 0.0
    return [
        tag("text", label, x=0, y=y + 14, class_="text"),
        tag("rect", x=_LABELS, y=y + 3, width=room, height=14, rx=3, class_="track"),
        tag("rect", x=_LABELS, y=y + 3, width=length, height=14, rx=3, class_=mark.tone),
        tag("text", value, x=WIDTH, y=y + 14, text_anchor="end", class_="text"),
    ]
