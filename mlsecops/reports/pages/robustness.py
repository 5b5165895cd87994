"""Robustness report as an HTML page.

plain values of a report (`robustness.json`) → verdict, chart with intervals, table, checks → HTML
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops.reports.rendering.elements import label, line, svg
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import (
    NONE,
    Tone,
    badge,
    code,
    facts,
    page,
    section,
    table,
    verdict,
)
from mlsecops.reports.rendering.text_width import fit, text_width

VERDICT_TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
_VERDICT_TITLES: Final = {
    "pass": "The model passes the gate",
    "fail": "The model fails the gate",
    "inconclusive": "The measurement is inconclusive",
}
_WIDTH: Final = 1060.0  # pixels; chosen: the width of a page, as all sizes below
_LEFT: Final = 236.0  # room for names and settings
_RIGHT: Final = 196.0  # room for values
_TOP: Final = 40.0  # room for the label of the floor
_BARS: Final = {False: 46.0, True: 64.0}  # height of a row, without and with an earlier model


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


@checked
def robustness_page(
    report: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    floor: float | None = None,
    model: str = "",
) -> str:
    """The page of a robustness report.

    Args:
        report: Plain values of the report (`RobustnessReport.to_dict`).
        before: Those of an earlier model, such as before hardening, for comparison.
        floor: Lowest accuracy of the gate, in [0, 1].
        model: Name of the model.
    """
    name = model or str(report.get("model") or "model")
    return page(
        f"Robustness of {name}",
        _conclusion(report, floor, before),
        section("Accuracy under attack", _figure(report, before, floor)),
        section("Figures", _figures(report, before, floor)),
        _certified(report.get("certified")),
        _checks(report),
        kicker="mlsecops · robustness",
        lead=f"Measured on {report['n']} samples with seed {report['seed']}. "
        "Every interval has one-sided 95 % bounds, and the gate compares the bounds.",
        facts=facts(
            ("Model digest", _digest(report.get("model_digest"))),
            ("Data digest", _digest(report.get("data_digest"))),
            *((("Floor", percent(floor)),) if floor is not None else ()),
        ),
    )


def percent(share: float) -> str:
    """A share as a percentage with one decimal and a narrow no-break space.

    Examples:
        >>> percent(0.5).replace("\u202f", " ")
        '50.0 %'
    """
    return f"{100 * share:.1f}\u202f%"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _digest(text: object) -> Child:
    return "not given" if text is None else code(text)


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


def _conclusion(
    report: Mapping[str, Any], floor: float | None, before: Mapping[str, Any] | None
) -> Markup | None:
    word = str(report.get("verdict") or "")
    if not word:
        return None
    worst = min(bars(report)[1:] or bars(report), key=lambda bar: bar.accuracy)
    against = f", against a floor of {percent(floor)}" if floor is not None else ""
    sentence = (
        f"Lowest accuracy {percent(worst.accuracy)} ({worst.name}; bounds {percent(worst.low)} to "
        f"{percent(worst.high)}){against}."
    )
    if before is not None:
        earlier = min(bar.accuracy for bar in bars(before))
        sentence += f" The earlier model had {percent(earlier)}."
    return verdict(
        _VERDICT_TITLES.get(word, "Verdict"),
        tag("p", sentence),
        word=word,
        tone=VERDICT_TONES.get(word, "none"),
    )


def _figure(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, floor: float | None
) -> Markup:
    caption = "Bars show the accuracy, whiskers its one-sided 95 % bounds."
    if before is not None:
        caption += " Hollow marks show the earlier model."
    if floor is not None:
        caption += (
            " Green: the lower bound reaches the floor. Red: the upper bound does not."
            " Amber: inconclusive."
        )
    return tag("figure", chart(report, before=before, floor=floor), tag("figcaption", caption))


def chart(
    report: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    floor: float | None = None,
) -> Markup:
    """Accuracies, their intervals and the floor, as an SVG element."""
    now = bars(report)
    earlier = {} if before is None else {bar.name: bar for bar in bars(before)}
    step = _BARS[bool(earlier)]
    bottom = _TOP + step * len(now)
    rows = [
        _row(bar, earlier.get(bar.name), floor, y=_TOP + step * index, step=step)
        for index, bar in enumerate(now)
    ]
    parts = (_axis(bottom), rows, _floor(floor, bottom))
    return svg("Accuracy under attack", *parts, width=_WIDTH, height=bottom + 30)


def _x(share: float) -> float:
    return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _axis(bottom: float) -> list[Markup]:
    parts = []
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        parts.append(line((x, _TOP), (x, bottom), "grid-line"))
        parts.append(label(f"{tick}\u202f%", x, bottom + 20, "small muted", "middle"))
    return parts


def _floor(floor: float | None, bottom: float) -> list[Markup]:
    if floor is None:
        return []
    x, name = _x(floor), f"floor {percent(floor)}"
    half = text_width(name, 12) / 2
    middle = min(max(x, half), _WIDTH - half)
    return [
        line((x, _TOP - 12), (x, bottom), "floor"),
        label(name, middle, _TOP - 20, "small", "middle"),
    ]


def _row(
    bar: Bar, earlier: Bar | None, floor: float | None, *, y: float, step: float
) -> list[Child]:
    middle, room = y + step / 2, _LEFT - 24
    return [
        label(fit(bar.name, room, 13), 0, middle + (-3 if bar.settings else 5), "strong"),
        label(fit(bar.settings, room, 12), 0, middle + 14, "small muted") if bar.settings else None,
        _mark(earlier, "none", y=middle - 12, hollow="hollow") if earlier else None,
        _mark(bar, bar.tone(floor), y=middle + (10 if earlier else 0), hollow=""),
    ]


def _mark(bar: Bar, tone: Tone, *, y: float, hollow: str) -> list[Markup]:
    end, low, high = _x(bar.accuracy), _x(bar.low), _x(bar.high)
    values = f"{percent(bar.accuracy)}  [{100 * bar.low:.1f}, {100 * bar.high:.1f}]"
    thick, wide = (5.0 if hollow else 9.0), end - _LEFT
    return [
        tag(
            "rect", x=_LEFT, y=y - thick, width=wide, height=2 * thick, rx=2, class_=f"{tone} soft"
        ),
        line((low, y), (high, y), f"{tone} line"),
        *(line((x, y - 5), (x, y + 5), f"{tone} line") for x in (low, high)),
        tag("circle", cx=end, cy=y, r=4.5, class_=f"{tone} {hollow}".strip(), stroke_width=2),
        label(values, _WIDTH - _RIGHT + 34, y + 4.5, "small muted" if hollow else "text"),
    ]


def _figures(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, floor: float | None
) -> Markup:
    earlier = {} if before is None else {bar.name: bar for bar in bars(before)}
    old_head, floor_head = ["Before"] if earlier else [], [] if floor is None else ["Floor"]
    head = ["Attack", "Settings", *old_head, "Accuracy", "Lower bound", "Upper bound"]
    rows: list[list[Child]] = []
    for bar in bars(report):
        old = earlier.get(bar.name)
        was: list[Child] = [percent(old.accuracy) if old else NONE] if earlier else []
        figures = [percent(bar.accuracy), percent(bar.low), percent(bar.high)]
        rows.append([bar.name, bar.settings or NONE, *was, *figures, *_standing(bar, floor)])
    return table([*head, *floor_head], rows, numeric=tuple(range(2, len(head))))


def _standing(bar: Bar, floor: float | None) -> list[Child]:
    if floor is None:
        return []
    tone = bar.tone(floor)
    return [badge({"good": "above", "warn": "inconclusive", "bad": "below"}[tone], tone)]


def _certified(figure: Mapping[str, Any] | None) -> Markup | None:
    if figure is None:
        return None
    bar = Bar.read("Certified", figure)
    sentence = (
        f"For {percent(bar.accuracy)} of the samples (bounds {percent(bar.low)} to "
        f"{percent(bar.high)}) the answer is proven to stay correct for every input within the "
        "radius. The proof covers the model smoothed by noise, not the model without it."
    )
    return section(
        "Certified accuracy",
        tag("p", sentence),
        tag("p", bar.settings, class_="note") if bar.settings else None,
    )


def _checks(report: Mapping[str, Any]) -> Markup:
    checks = report.get("checks") or []
    if not checks:
        text = "The self-checks were switched off, so masked gradients would not be detected."
        return section("Checks of the measurement", tag("p", text, class_="note"))
    rows: list[list[Child]] = [
        [
            str(check["name"]),
            badge(str(check["outcome"]), VERDICT_TONES.get(str(check["outcome"]), "none")),
            str(check.get("reason") or NONE),
        ]
        for check in checks
    ]
    return section("Checks of the measurement", table(["Check", "Outcome", "Reason"], rows))
