from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.reports import (
    Deliverable,
    architecture_page,
    blueprint,
    dashboard_page,
    index_page,
    robustness_page,
)
from mlsecops.reports.rendering.markup import tag
from mlsecops.reports.rendering.page import PALETTE, link
from tests.attackers.reports import MARKUP
from tests.reports.releases import robustness_report


def snapshot(text: str = "quiet", **changes: Any) -> dict[str, Any]:
    alert = Alert(
        rule=text,
        monitor=text,
        client=text,
        digest=None,
        reading=2.0,
        threshold=1.0,
        window=text,
        severity=Severity.HIGH,
        atlas=text,
        message=text,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    state = {
        "calls": 10,
        "processed": 9,
        "dropped": 1,
        "failures": 0,
        "confidence": 0.9,
        "accuracy": 0.8,
        "clients": {text: {"rows": 5, "rate": 2.5}},
        "drift": {"rows": 9, "features": {text: {"ks": 0.4, "psi": 0.2, "drifted": True}}},
        "alerts": [alert.to_dict()],
        "profile": None,
        "confidences": {text: 3, "0.9": 5, "+Inf": 0},
        "anomalies": {text: 2},
    }
    return {**state, **changes}


def robustness(text: str) -> str:
    report = robustness_report(text)
    report["attacks"][0].update(name=text, params={text: text})
    report["checks"] = [{"name": text, "outcome": text, "reason": text}]
    return robustness_page(report, before=report, floor=0.7, model=text)


def test_a_proven_figure_stands_apart_from_the_measured_ones() -> None:
    report = {**robustness_report("net"), "verdict": "pass"}
    proven = {"accuracy": 0.01, "interval": [0.0, 0.05], "params": {"radius": 0.5, "sigma": 0.25}}
    shown = robustness_page({**report, "certified": proven}, floor=0.7)
    assert "Certified accuracy" in shown
    assert "radius 0.5" in shown
    assert "Lowest accuracy 1.0" not in shown
    assert "Certified" not in robustness_page(report, floor=0.7)


def index(text: str) -> str:
    card = Deliverable(title=text, summary=text, status=text, tone="good", files=("a/b.json",))
    return index_page(
        [card], model=text, digest=text, signers=[text], gate=text, alerts=1, incident=text
    )


def dashboard(text: str) -> str:
    return dashboard_page([snapshot(text)], name=text, digest=text, labels=[text])


def architecture(text: str) -> str:
    return architecture_page(blueprint({}, title=text))


PAGES = (robustness, index, dashboard, architecture)


class Elements(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("page", PAGES)
def test_untrusted_text_adds_no_element_and_no_attribute(page: Callable[[str], str]) -> None:
    def shape(document: str) -> list[tuple[str, list[str]]]:
        return [(name, sorted(attributes)) for name, attributes in Elements(document).found]

    assert shape(page(MARKUP)) == shape(page("harmless text of some length"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reaches_for_nothing_outside_itself(page: Callable[[str], str]) -> None:
    document = page("x")
    for name, attributes in Elements(document).found:
        assert name not in {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        assert not re.match(r"(?i)[a-z]+:|//", attributes.get("href") or "")
    assert "url(" not in document
    assert "@import" not in document


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_of_a_page_allows_its_own_style_alone(page: Callable[[str], str]) -> None:
    document = page("x")
    styles = re.findall(r"<style>(.*?)</style>", document, flags=re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in document


@pytest.mark.parametrize("page", PAGES)
def test_equal_input_gives_an_equal_page(page: Callable[[str], str]) -> None:
    assert page("digits") == page("digits")


@given(st.text(max_size=40))
def test_text_in_an_element_never_ends_it(text: str) -> None:
    document = tag("p", text, title=text)
    assert [name for name, _ in Elements(document).found] == ["p"]


@pytest.mark.parametrize(
    "target",
    ["javascript:alert(1)", "//host/x", "https://host", "../up", "/etc", "a b", "", "a/../../b"],
)
def test_a_link_leads_only_to_files_below_the_page(target: str) -> None:
    with pytest.raises(UsageError, match="relative path"):
        link(target)


def test_a_verdict_stands_in_words() -> None:
    report = robustness_report()
    for word in ("pass", "fail", "inconclusive"):
        assert f"</b>{word}</span>" in robustness_page({**report, "verdict": word}, floor=0.7)


def test_a_figure_whose_interval_contains_the_floor_is_inconclusive() -> None:
    document = robustness_page(robustness_report(worst=0.72), floor=0.7)
    assert "</b>inconclusive</span>" in document
    assert "above" in document
    assert "below" in robustness_page(robustness_report(worst=0.3), floor=0.7)


def test_before_and_after_hardening_stand_side_by_side() -> None:
    document = robustness_page(robustness_report(), before=robustness_report(worst=0.1), floor=0.7)
    assert "10.0\u202f%" in document
    assert document.count("hollow") > robustness_page(robustness_report()).count("hollow")


def test_switched_off_checks_are_said_to_be_off() -> None:
    assert "switched off" in robustness_page({**robustness_report(), "checks": []})


def test_a_missing_reading_is_never_drawn_as_zero() -> None:
    gone: dict[str, Any] = {"confidences": {}, "anomalies": {}}
    empty = snapshot(confidence=None, accuracy=None, drift=None, clients={}, alerts=[], **gone)
    document = dashboard_page([empty], name="m")
    assert document.count("no reading") == 7


def test_a_dashboard_without_snapshots_is_still_a_page() -> None:
    assert dashboard_page([], name="m").count("no reading") == 8


def test_an_alert_is_told_with_its_client_and_reading() -> None:
    document = dashboard_page([snapshot("thief")], name="m")
    assert document.count("thief") >= 4
    assert ">2</td>" in document


def test_the_index_names_what_is_open() -> None:
    good = Deliverable(title="Signing", summary="", status="ok", tone="good", files=())
    bad = Deliverable(title="Robustness", summary="", status="fail", tone="bad", files=())
    options: dict[str, Any] = {
        "model": "m",
        "digest": "d",
        "signers": [],
        "gate": "fail",
        "alerts": 0,
        "incident": None,
    }
    assert "No open findings" in index_page([good], **options)
    assert "Review: Robustness." in index_page([good, bad], **options)


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * each for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("ink", "surface"),
        ("muted", "surface"),
        ("muted", "page"),
        *((tone, "surface") for tone in ("good", "warn", "bad", "info", "none")),
        *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "info", "none")),
    ],
)
def test_text_has_the_contrast_that_wcag_asks_for(theme: int, ink: str, ground: str) -> None:
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]+)", PALETTE.split("@media")[theme]))
    light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
