"""Bar chart of accuracies under attack, with intervals and the floor of the gate.

plain values of a report (`robustness.json`) → Bars → SVG for a screen, or for a phone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlsecops.reports.rendering.elements import label, line, svg
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import Tone
from mlsecops.reports.rendering.text_width import fit, text_width

_TITLE: Final = "Accuracy under attack"
_TOP: Final = 40.0  # pixels; chosen: room for the label of the floor


@dataclass(frozen=True, slots=True)
class Bar:
    """One accuracy with its interval, all in [0, 1]."""

    name: str
    settings: str
    accuracy: float
    low: float
    high: float

    @classmethod
    def read(cls, name: str, figure: Mapping[str, Any]) -> Bar:
        """Read a figure of `robustness.json`."""
        low, high = figure["interval"]
        params = figure.get("params") or {}
        settings = ", ".join(f"{key} {_short(value)}" for key, value in params.items())
        return cls(name, settings, float(figure["accuracy"]), float(low), float(high))

    def tone(self, floor: float | None) -> Tone:
        """Good if the lower bound reaches the floor, bad if the upper bound does not."""
        if floor is None:
            return "info"
        return "good" if self.low >= floor else "bad" if self.high < floor else "warn"


def percent(share: float) -> str:
    """A share as a percentage with one decimal and a narrow no-break space.

    Examples:
        >>> percent(0.5).replace("\u202f", " ")
        '50.0 %'
    """
    return f"{100 * share:.1f}\u202f%"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def bars(report: Mapping[str, Any]) -> list[Bar]:
    """Bars of the clean accuracy, each attack, and the worst case if it is known."""
    found = [Bar.read("Clean", report["clean"])]
    found += [Bar.read(_title(attack["name"]), attack) for attack in report["attacks"]]
    if "worst" in report:
        found.append(Bar.read("Worst case", report["worst"]))
    return found


def _title(name: object) -> str:
    parts = str(name).split("-")
    return "-".join(part.upper() if len(part) <= 4 else part for part in parts)  # noqa: PLR2004 - length of an acronym


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Where shares from 0 to 1 lie, in pixels, on a drawing of a width."""

    left: float
    right: float
    width: float

    def x(self, share: float) -> float:
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def grid(self, bottom: float) -> list[Markup]:
        parts = []
        for tick in range(0, 101, 20):
            x = self.x(tick / 100)
            parts.append(line((x, _TOP), (x, bottom), "grid-line"))
            parts.append(self.centred(f"{tick}\u202f%", x, bottom + 20, "small muted"))
        return parts

    def centred(self, text: str, x: float, y: float, class_: str) -> Markup:
        """Text around x, moved as far as it would leave the drawing."""
        half = text_width(text, 12) / 2
        return label(text, min(max(x, half), self.width - half), y, class_, "middle")

    def floor(self, floor: float | None, bottom: float) -> list[Markup]:
        if floor is None:
            return []
        x = self.x(floor)
        return [
            line((x, _TOP - 12), (x, bottom), "floor"),
            self.centred(f"floor {percent(floor)}", x, _TOP - 20, "small"),
        ]

    def mark(self, bar: Bar, tone: Tone, *, y: float, hollow: bool) -> list[Markup]:
        """Bar, whiskers and dot."""
        end, low, high = (self.x(each) for each in (bar.accuracy, bar.low, bar.high))
        thick, dot = (5.0, f"{tone} hollow") if hollow else (9.0, tone)
        return [
            tag("rect", x=self.left, y=y - thick, width=end - self.left, height=2 * thick, rx=2,
                class_=f"{tone} soft"),
            line((low, y), (high, y), f"{tone} line"),
            *(line((x, y - 5), (x, y + 5), f"{tone} line") for x in (low, high)),
            tag("circle", cx=end, cy=y, r=4.5, class_=dot, stroke_width=2),
        ]  # fmt: skip


_BROAD: Final = _Axis(left=236.0, right=864.0, width=1060.0)
"""Names to the left of the bars, values to the right; chosen: the width of a page."""
_BROAD_ROW: Final = {False: 46.0, True: 64.0}  # height, without and with an earlier model
_NARROW: Final = _Axis(left=16.0, right=300.0, width=324.0)
"""Names and values above the bars; chosen: the width within a page of 390 pixels."""
_NARROW_ROW: Final = {False: 66.0, True: 100.0}  # height, without and with an earlier model


def broad_chart(
    report: Mapping[str, Any], *, before: Mapping[str, Any] | None, floor: float | None
) -> Markup:
    """The chart for a screen."""
    now, earlier = _paired(report, before)
    step = _BROAD_ROW[bool(earlier)]
    rows = [
        _broad_row(bar, earlier.get(bar.name), floor, middle=_TOP + step * (index + 0.5))
        for index, bar in enumerate(now)
    ]
    return _drawn(_BROAD, rows, floor, bottom=_TOP + step * len(now))


def narrow_chart(
    report: Mapping[str, Any], *, before: Mapping[str, Any] | None, floor: float | None
) -> Markup:
    """The chart for a phone, with text of the same size."""
    now, earlier = _paired(report, before)
    step = _NARROW_ROW[bool(earlier)]
    rows = [
        _narrow_row(bar, earlier.get(bar.name), floor, top=_TOP + step * index)
        for index, bar in enumerate(now)
    ]
    return _drawn(_NARROW, rows, floor, bottom=_TOP + step * len(now))


def _paired(
    report: Mapping[str, Any], before: Mapping[str, Any] | None
) -> tuple[list[Bar], dict[str, Bar]]:
    return bars(report), {} if before is None else {bar.name: bar for bar in bars(before)}


def _drawn(axis: _Axis, rows: Sequence[Child], floor: float | None, *, bottom: float) -> Markup:
    parts = (axis.grid(bottom), axis.floor(floor, bottom), rows)
    return svg(_TITLE, *parts, width=axis.width, height=bottom + 30)


def _values(bar: Bar) -> str:
    return f"{percent(bar.accuracy)}  [{100 * bar.low:.1f}, {100 * bar.high:.1f}]"


def _broad_row(bar: Bar, earlier: Bar | None, floor: float | None, *, middle: float) -> list[Child]:
    room, values = _BROAD.left - 24, _BROAD.right + 34
    y = middle + (10 if earlier else 0)
    parts: list[Child] = [
        label(fit(bar.name, room, 13), 0, middle + (-3 if bar.settings else 5), "strong"),
        label(fit(bar.settings, room, 12), 0, middle + 14, "small muted") if bar.settings else None,
        _BROAD.mark(bar, bar.tone(floor), y=y, hollow=False),
        label(_values(bar), values, y + 4.5, "text"),
    ]
    if earlier:
        parts.append(_BROAD.mark(earlier, "none", y=middle - 12, hollow=True))
        parts.append(label(_values(earlier), values, middle - 7.5, "small muted"))
    return parts


def _narrow_row(bar: Bar, earlier: Bar | None, floor: float | None, *, top: float) -> list[Child]:
    values, end = _values(bar), _NARROW.width
    room = end - text_width(values, 13) - 12
    parts: list[Child] = [
        label(fit(bar.name, room, 13), 0, top + 18, "strong halo"),
        label(values, end, top + 18, "text halo", "end"),
        label(fit(bar.settings, end, 12), 0, top + 34, "small muted halo")
        if bar.settings
        else None,
    ]
    y = top + 50
    if earlier:
        parts.append(_NARROW.mark(earlier, "none", y=y, hollow=True))
        parts.append(label(f"before: {_values(earlier)}", end, y + 20, "small muted halo", "end"))
        y += 32
    return [*parts, _NARROW.mark(bar, bar.tone(floor), y=y, hollow=False)]
