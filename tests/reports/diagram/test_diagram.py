from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.errors import UsageError
from mlsecops.reports import (
    CONTROLS,
    THREATS,
    Architecture,
    Boundary,
    Control,
    ControlState,
    Element,
    ElementKind,
    Flow,
    architecture_page,
    architecture_svg,
    blueprint,
    mermaid,
    threat_statuses,
)
from mlsecops.reports.diagram.layout import layout
from mlsecops.reports.diagram.shapes import CHIP_SIZE, LABEL_SIZE, Box
from mlsecops.reports.pages.architecture import architecture_files
from mlsecops.reports.rendering.text_width import fit, text_width, wrap
from tests.attackers.reports import MARKUP

ENFORCED = dict.fromkeys(CONTROLS, (ControlState.ENFORCED, "here"))


def overlap(one: Box, other: Box) -> bool:
    apart = 0.01
    return (
        one.x < other.right - apart
        and other.x < one.right - apart
        and one.y < other.bottom - apart
        and other.y < one.bottom - apart
    )


def segments(points: tuple[tuple[float, float], ...]) -> list[Box]:
    return [
        Box(x=min(a[0], b[0]), y=min(a[1], b[1]), width=abs(a[0] - b[0]), height=abs(a[1] - b[1]))
        for a, b in pairwise(points)
    ]


def assert_readable(architecture: Architecture) -> None:
    """No card, label or chip covers another, leaves the picture, or is crossed by a line."""
    placed = layout(architecture)
    cards = [box for _, box in placed.elements]
    chips = [chip.box for route in placed.routes for chip in route.chips]
    labels = [
        Box(x=x, y=y - LABEL_SIZE, width=text_width(text, LABEL_SIZE), height=LABEL_SIZE + 3)
        for route in placed.routes
        for (x, y), text in route.lines
    ]
    for one, other in combinations([*cards, *chips, *labels], 2):
        assert not overlap(one, other)
    for one, other in combinations([box for _, box in placed.boundaries], 2):
        assert not overlap(one, other)
    for box in [*cards, *chips, *labels]:
        assert box.x >= 0
        assert box.y >= 0
        assert box.right <= placed.width
        assert box.bottom <= placed.height
    for line in (part for route in placed.routes for part in segments(route.points)):
        assert not any(overlap(line, box) for box in [*chips, *labels])
    for route in placed.routes:
        for chip in route.chips:
            assert text_width(chip.control.name, CHIP_SIZE) + 23 <= chip.box.width


def test_the_blueprint_is_readable() -> None:
    assert_readable(blueprint(ENFORCED))


WORDS = st.text(alphabet="abcdefgh MWil", min_size=1, max_size=40)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    boundaries = tuple(
        Boundary(id=f"b{index}", name=draw(WORDS), stage=draw(st.integers(0, 3)))
        for index in range(draw(st.integers(1, 5)))
    )
    elements = tuple(
        Element(
            id=f"e{index}",
            name=draw(WORDS),
            kind=draw(st.sampled_from(ElementKind)),
            boundary=draw(st.sampled_from(boundaries)).id,
            note=draw(WORDS),
        )
        for index in range(draw(st.integers(2, 8)))
    )
    bare = Architecture(elements=elements, flows=(), boundaries=boundaries)
    pairs = [
        (one.id, other.id)
        for one in elements
        for other in elements
        if bare.stage_of(one.id) != bare.stage_of(other.id)
    ]
    for stage in {each.stage for each in boundaries}:
        column = [each.id for each in bare.column(stage)]
        pairs += list(pairwise(column))
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=9)) if pairs else []
    flows = tuple(
        Flow(
            source=source,
            target=target,
            label=draw(WORDS),
            controls=tuple(
                Control(name=draw(WORDS), state=draw(st.sampled_from(ControlState)), where="here")
                for _ in range(draw(st.integers(0, 4)))
            ),
        )
        for source, target in chosen
    )
    return Architecture(elements=elements, flows=flows, boundaries=boundaries)


@settings(max_examples=120, deadline=None)
@given(architectures())
def test_no_architecture_makes_text_overlap(architecture: Architecture) -> None:
    assert_readable(architecture)
    ET.fromstring(architecture_svg(architecture))  # noqa: S314 - our own


def test_the_svg_is_equal_for_equal_input_and_needs_nothing_else() -> None:
    drawn = architecture_svg(blueprint(ENFORCED))
    assert drawn == architecture_svg(blueprint(ENFORCED))
    ET.fromstring(drawn)  # noqa: S314 - our own
    assert not re.search(r"href|url\(|@import|<script|<image|foreignObject", drawn)


def test_every_control_is_drawn_in_its_own_state() -> None:
    states = {**ENFORCED, "Rate limit": (ControlState.ADVISORY, "here")}
    del states["Isolation"]
    drawn = architecture_svg(blueprint(states))
    assert drawn.count('class="chip good"') == len(CONTROLS) - 2 + 1
    assert drawn.count('class="chip warn"') == 1 + 1
    assert drawn.count('class="chip bad"') == 1 + 1
    assert "<title>Rate limit: advisory (here)</title>" in drawn
    assert "<title>Isolation: absent (not configured)</title>" in drawn


def test_a_control_that_is_not_mentioned_is_absent() -> None:
    assert {control.state for control in blueprint({}).controls} == {ControlState.ABSENT}


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(UsageError, match="Magic"):
        blueprint({"Magic": (ControlState.ENFORCED, "")})


def test_without_controls_every_threat_is_unmitigated() -> None:
    assert {each.state for each in threat_statuses(blueprint({}))} == {ControlState.ABSENT}
    assert architecture_page(blueprint({})).count("</b>unmitigated</span>") == len(THREATS)


def test_with_all_controls_every_threat_names_one() -> None:
    assert {each.state for each in threat_statuses(blueprint(ENFORCED))} == {ControlState.ENFORCED}


def test_a_threat_with_an_advisory_control_alone_is_not_called_mitigated() -> None:
    states = {"Drift": (ControlState.ADVISORY, "here")}
    standing = {each.state for each in threat_statuses(blueprint(states)) if each.controls}
    assert standing == {ControlState.ADVISORY}
    assert "</b>advisory only</span>" in architecture_page(blueprint(states))


def test_every_counter_in_the_catalogue_is_a_control_that_exists() -> None:
    assert {name for threat in THREATS for name in threat.countered_by} <= set(CONTROLS)


def test_the_table_names_technique_and_control() -> None:
    document = architecture_page(blueprint(ENFORCED))
    assert "AML.T0024.002" in document
    assert "Extraction detector" in document
    assert all(threat.stride.value in document for threat in THREATS)


def hostile() -> Architecture:
    return Architecture(
        title=MARKUP,
        boundaries=(Boundary(id=MARKUP, name=MARKUP, stage=0), Boundary(id="b", name="b", stage=1)),
        elements=(
            Element(id="a", name=MARKUP, kind=ElementKind.STORE, boundary=MARKUP, note=MARKUP),
            Element(id=MARKUP, name="x", kind=ElementKind.ACTOR, boundary="b"),
        ),
        flows=(
            Flow(
                source="a",
                target=MARKUP,
                label=f'{MARKUP}"] --> evil["',
                controls=(Control(name=MARKUP, state=ControlState.ENFORCED, where=MARKUP),),
            ),
        ),
    )


def test_untrusted_names_add_nothing_to_the_picture() -> None:
    root = ET.fromstring(architecture_svg(hostile()))  # noqa: S314 - our own
    kinds = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert kinds <= {"svg", "style", "title", "g", "rect", "text", "path", "circle", "ellipse"}


def test_untrusted_names_add_nothing_to_the_mermaid_text() -> None:
    text = mermaid(hostile())
    assert "<" not in text.replace("<br/>", "")
    assert "evil[" not in text
    assert text.count("-->") == 1
    assert "click" not in text


def test_mermaid_names_every_element_and_control() -> None:
    text = mermaid(blueprint(ENFORCED))
    assert text.startswith("flowchart LR\n")
    assert text.count("-->") == len(blueprint(ENFORCED).flows)
    assert all(name in text for name in CONTROLS)


def test_the_files_of_the_deliverable_are_three() -> None:
    names = set(architecture_files(blueprint(ENFORCED)))
    assert names == {"architecture.svg", "architecture.mmd", "architecture.html"}


def test_what_cannot_be_drawn_is_refused() -> None:
    boundary = (Boundary(id="b", name="b", stage=0),)
    elements = tuple(
        Element(id=id_, name=id_, kind=ElementKind.PROCESS, boundary="b") for id_ in ("x", "y", "z")
    )
    for flow, match in (
        (Flow(source="x", target="z", label=""), "below the other"),
        (Flow(source="x", target="x", label=""), "below the other"),
        (Flow(source="x", target="ghost", label=""), "ghost"),
    ):
        with pytest.raises(UsageError, match=match):
            Architecture(elements=elements, flows=(flow,), boundaries=boundary)
    with pytest.raises(UsageError, match="twice"):
        Architecture(elements=(elements[0], elements[0]), flows=(), boundaries=boundary)


@given(st.text(max_size=80), st.floats(10, 200), st.integers(1, 4))
def test_wrapped_and_cut_text_is_never_wider_than_asked(text: str, width: float, most: int) -> None:
    lines = wrap(text, width, 12.0, most=most)
    assert len(lines) <= most
    room = max(width, text_width("…", 12.0))
    assert all(text_width(line, 12.0) <= room for line in lines)
    assert text_width(fit(text, width, 12.0), 12.0) <= room
