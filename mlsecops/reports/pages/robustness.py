"""How a model held under attack, as a page: verdict, chart with intervals, settings, checks.

The plain values of a robustness report come in (`robustness.json`), HTML goes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
    "pass": "The model holds the floor",
    "fail": "The model does not hold the floor",
    "inconclusive": "The measurement does not settle it",
}
_WIDTH: Final = 1060.0
_LEFT: Final = 236.0
_RIGHT: Final = 196.0
_TOP: Final = 40.0
_BARS: Final = {False: 46.0, True: 64.0}


@dataclass(frozen=True, slots=True)
class Bar:
    """One accuracy with its interval, all shares in [0, 1]."""

    name: str
    settings: str
    accuracy: float
    low: float
    high: float

    @classmethod
    def read(cls, name: str, figure: Mapping[str, Any]) -> Bar:
        """Take it from a figure of `robustness.json`."""
        low, high = figure["interval"]
        params = figure.get("params") or {}
        settings = ", ".join(f"{key} {_short(value)}" for key, value in params.items())
        return cls(name, settings, float(figure["accuracy"]), float(low), float(high))

    def tone(self, floor: float | None) -> Tone:
        """How it stands against a floor."""
        if floor is None:
            return "info"
        return "good" if self.low >= floor else "bad" if self.high < floor else "warn"


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
        before: Those of an earlier model, say before it was hardened, drawn beside it.
        floor: The gate's lowest accuracy, a share in [0, 1].
        model: What the model is called.
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
        "Every interval has one-sided 95 % bounds, and the gate judges the bounds.",
        facts=facts(
            ("Model digest", _digest(report.get("model_digest"))),
            ("Data digest", _digest(report.get("data_digest"))),
            *((("Floor", percent(floor)),) if floor is not None else ()),
        ),
    )


def percent(share: float) -> str:
    """A share for people, with one decimal and a narrow space."""
    return f"{100 * share:.1f}\u202f%"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _digest(text: object) -> Child:
    return "not given" if text is None else code(text)


def bars(report: Mapping[str, Any]) -> list[Bar]:
    """Clean, each attack, and the worst of all attacks where it is known."""
    found = [Bar.read("Clean", report["clean"])]
    found += [Bar.read(_title(attack["name"]), attack) for attack in report["attacks"]]
    if "worst" in report:
        found.append(Bar.read("Worst case", report["worst"]))
    return found


def _title(name: object) -> str:
    """Acronyms in capitals: FGSM, PGD-L2, APGD-CE."""
    parts = str(name).split("-")
    return "-".join(part.upper() if len(part) <= 4 else part for part in parts)  # noqa: PLR2004 - as said


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
    caption = "Bars show accuracy; whiskers its one-sided 95 % bounds."
    if before is not None:
        caption += " Hollow marks are the earlier model."
    if floor is not None:
        caption += (
            " Green: even the lower bound reaches the floor. Red: even the upper bound does not."
            " Amber: not settled."
        )
    return tag("figure", chart(report, before=before, floor=floor), tag("figcaption", caption))


def chart(
    report: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    floor: float | None = None,
) -> Markup:
    """Accuracies with their intervals against the floor, as an SVG element."""
    now = bars(report)
    earlier = {} if before is None else {bar.name: bar for bar in bars(before)}
    step = _BARS[bool(earlier)]
    bottom = _TOP + step * len(now)
    rows = [
        _row(bar, earlier.get(bar.name), floor, y=_TOP + step * index, step=step)
        for index, bar in enumerate(now)
    ]
    return tag(
        "svg",
        tag("title", "Accuracy under attack"),
        _axis(bottom),
        rows,
        _floor(floor, bottom),
        viewBox=f"0 0 {_WIDTH:g} {bottom + 30:g}",
        width=_WIDTH,
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


def _x(share: float) -> float:
    return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _axis(bottom: float) -> list[Markup]:
    parts = []
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        parts.append(tag("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="grid-line"))
        label = f"{tick}\u202f%"
        parts.append(
            tag("text", label, x=x, y=bottom + 20, text_anchor="middle", class_="small muted")
        )
    return parts


def _floor(floor: float | None, bottom: float) -> list[Markup]:
    if floor is None:
        return []
    x = _x(floor)
    label = f"floor {percent(floor)}"
    half = text_width(label, 12) / 2
    middle = min(max(x, half), _WIDTH - half)
    return [
        tag("line", x1=x, x2=x, y1=_TOP - 12, y2=bottom, class_="floor"),
        tag("text", label, x=middle, y=_TOP - 20, text_anchor="middle", class_="small"),
    ]


def _row(
    bar: Bar, earlier: Bar | None, floor: float | None, *, y: float, step: float
) -> list[Child]:
    middle = y + step / 2
    line = middle + (10 if earlier else 0)
    room = _LEFT - 24
    label = middle - 3 if bar.settings else middle + 5
    return [
        tag("text", fit(bar.name, room, 13), x=0, y=label, class_="strong"),
        tag("text", fit(bar.settings, room, 12), x=0, y=middle + 14, class_="small muted")
        if bar.settings
        else None,
        _mark(earlier, "none", y=middle - 12, hollow="hollow") if earlier else None,
        _mark(bar, bar.tone(floor), y=line, hollow=""),
    ]


def _mark(bar: Bar, tone: Tone, *, y: float, hollow: str) -> list[Markup]:
    end, low, high = _x(bar.accuracy), _x(bar.low), _x(bar.high)
    values = f"{percent(bar.accuracy)}  [{100 * bar.low:.1f}, {100 * bar.high:.1f}]"
    thick = 5.0 if hollow else 9.0
    words = "small muted" if hollow else "text"
    return [
        tag(
            "rect",
            x=_LEFT,
            y=y - thick,
            width=end - _LEFT,
            height=2 * thick,
            rx=2,
            class_=f"{tone} soft",
        ),
        tag("line", x1=low, x2=high, y1=y, y2=y, class_=tone, stroke_width=2),
        *(
            tag("line", x1=x, x2=x, y1=y - 5, y2=y + 5, class_=tone, stroke_width=2)
            for x in (low, high)
        ),
        tag("circle", cx=end, cy=y, r=4.5, class_=f"{tone} {hollow}".strip(), stroke_width=2),
        tag("text", values, x=_WIDTH - _RIGHT + 34, y=y + 4.5, class_=words),
    ]


def _figures(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, floor: float | None
) -> Markup:
    earlier = {} if before is None else {bar.name: bar for bar in bars(before)}
    head = [
        "Measured",
        "Settings",
        *(["Before"] if earlier else []),
        "Accuracy",
        "Lower bound",
        "Upper bound",
    ]
    rows: list[list[Child]] = []
    for bar in bars(report):
        old = earlier.get(bar.name)
        was: list[Child] = [percent(old.accuracy) if old else NONE] if earlier else []
        figures = [percent(bar.accuracy), percent(bar.low), percent(bar.high)]
        rows.append([bar.name, bar.settings or NONE, *was, *figures, *_standing(bar, floor)])
    first = 2
    numeric = tuple(range(first, len(head)))
    return table(
        [*head, *(["Against the floor"] if floor is not None else [])], rows, numeric=numeric
    )


def _standing(bar: Bar, floor: float | None) -> list[Child]:
    if floor is None:
        return []
    words = {"good": "above", "warn": "not settled", "bad": "below"}
    tone = bar.tone(floor)
    return [badge(words[tone], tone)]


def _certified(figure: Mapping[str, Any] | None) -> Markup | None:
    if figure is None:
        return None
    bar = Bar.read("Certified", figure)
    sentence = (
        f"{percent(bar.accuracy)} of the samples (bounds {percent(bar.low)} to "
        f"{percent(bar.high)}) keep their right answer whatever happens inside the radius. "
        "This is proven, of the model smoothed by noise, and not of the model without it."
    )
    return section(
        "Certified accuracy",
        tag("p", sentence),
        tag("p", bar.settings, class_="note") if bar.settings else None,
    )


def _checks(report: Mapping[str, Any]) -> Markup:
    checks = report.get("checks") or []
    if not checks:
        text = "The self-checks were switched off: masked gradients would go unseen."
        return section("Checks of the measurement", tag("p", text, class_="note"))
    rows: list[list[Child]] = [
        [
            str(check["name"]),
            badge(str(check["outcome"]), VERDICT_TONES.get(str(check["outcome"]), "none")),
            str(check.get("reason") or NONE),
        ]
        for check in checks
    ]
    return section("Checks of the measurement", table(["Check", "Outcome", "What was seen"], rows))
