"""Robustness report as an HTML page.

plain values of a report (`robustness.json`) → verdict, chart with intervals, table, checks → HTML
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops.reports.pages.robustness_chart import Bar, bars, broad_chart, narrow_chart, percent
from mlsecops.reports.plain_values import well_formed
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import (
    NONE,
    Tone,
    badge,
    broad_or_narrow,
    code,
    facts,
    page,
    section,
    table,
    verdict,
)

VERDICT_TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
_VERDICT_TITLES: Final = {
    "pass": "The model passes the gate",
    "fail": "The model fails the gate",
    "inconclusive": "The measurement is inconclusive",
}


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

    Raises:
        UsageError: A report is of another form.
    """
    with well_formed("report", "RobustnessReport.to_dict()"):
        return _page(report, before, floor, model)


def _page(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, floor: float | None, model: str
) -> str:
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


def _digest(text: object) -> Child:
    return "not given" if text is None else code(text)


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
    drawn = broad_or_narrow(
        broad_chart(report, before=before, floor=floor),
        narrow_chart(report, before=before, floor=floor),
    )
    return tag("figure", drawn, tag("figcaption", caption))


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
