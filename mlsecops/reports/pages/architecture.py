"""Architecture page of a pipeline.

Architecture → data-flow diagram, table of threats, table of controls → HTML, SVG and Mermaid
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mlsecops._choices import checked
from mlsecops.reports.diagram.model import Architecture, ControlState, mermaid
from mlsecops.reports.diagram.svg import DIAGRAM_STYLE, architecture_svg, svg_element
from mlsecops.reports.diagram.threats import ThreatStatus, threat_statuses
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import (
    NONE,
    badge,
    broad_or_narrow,
    code,
    facts,
    link,
    page,
    section,
    table,
)

_STYLE: Final = DIAGRAM_STYLE + (
    "main,header>div{max-width:1480px}section figure svg{margin:0 auto}"
    ".flows{list-style:none;margin:0;padding:0}.flows li{padding:12px 0;"
    "border-bottom:1px solid var(--grid)}.flows li:last-child{border-bottom:0}"
    ".flows p{margin:0 0 6px}.flows .badge{margin:0 6px 6px 0}"
    ".where{color:var(--muted)}.pair{display:flex;flex-direction:column;gap:5px;"
    "align-items:flex-start}"
)
_WORDS: Final = {
    ControlState.ENFORCED: "mitigated",
    ControlState.ADVISORY: "advisory only",
    ControlState.ABSENT: "unmitigated",
}


@checked
def architecture_page(architecture: Architecture) -> str:
    """The HTML page of an architecture: diagram, threats and controls."""
    found = threat_statuses(architecture)
    alone = tag("figcaption", "The drawing alone, to enlarge: ", link("architecture.svg"))
    drawn = tag("div", svg_element(architecture), alone)
    drawing = tag("figure", broad_or_narrow(drawn, _flows(architecture)))
    return page(
        architecture.title,
        section("Data flow", drawing),
        section("Threats", _threats(found)),
        section("Controls", _controls(architecture)),
        kicker="mlsecops · architecture",
        lead="Dashed frames are trust boundaries. Each control is shown on the data flow it "
        "protects, in its actual state.",
        facts=_counts(architecture, found),
        style=_STYLE,
    )


@checked
def architecture_files(architecture: Architecture) -> dict[str, str]:
    """The deliverable: file name → text of `architecture.svg`, `.mmd` and `.html`."""
    return {
        "architecture.svg": architecture_svg(architecture),
        "architecture.mmd": mermaid(architecture),
        "architecture.html": architecture_page(architecture),
    }


def _flows(architecture: Architecture) -> Markup:
    """The diagram as a list, where it would be too small to read."""
    zones = {each.id: each.name for each in architecture.boundaries}
    ends = {
        each.id: [each.name, tag("span", f" ({zones[each.boundary]})", class_="where")]
        for each in architecture.elements
    }
    return tag(
        "ul",
        [
            tag(
                "li",
                tag("p", ends[flow.source], " → ", ends[flow.target], f": {flow.label}"),
                [
                    badge(f"{each.name}: {each.state.value}", each.state.tone)
                    for each in flow.controls
                ],
            )
            for flow in architecture.flows
        ],
        class_="flows",
    )


def _counts(architecture: Architecture, found: tuple[ThreatStatus, ...]) -> Markup:
    controls = Counter(control.state for control in architecture.controls)
    threats = Counter(standing.state for standing in found)
    return facts(
        *((f"Controls {state.value}", str(controls[state])) for state in ControlState),
        ("Threats mitigated", f"{threats[ControlState.ENFORCED]} of {len(found)}"),
        ("Threats unmitigated", str(threats[ControlState.ABSENT])),
    )


def _threats(found: tuple[ThreatStatus, ...]) -> Markup:
    rows: list[list[Child]] = [
        [
            standing.threat.stride.value,
            [
                code(standing.threat.atlas) if standing.threat.atlas else NONE,
                tag("br"),
                standing.threat.technique,
            ],
            standing.threat.story,
            badge(_WORDS[standing.state], standing.state.tone),
            _mitigations(standing),
        ]
        for standing in found
    ]
    return table(["STRIDE", "MITRE ATLAS", "Threat", "Status", "Mitigating control"], rows)


def _mitigations(standing: ThreatStatus) -> Child:
    if not standing.controls:
        return "unmitigated"
    return tag(
        "div",
        [
            tag("div", control.name, tag("span", f" · {control.where}", class_="where"))
            for control in standing.controls
        ],
        class_="pair",
    )


def _controls(architecture: Architecture) -> Markup:
    names = {element.id: element.name for element in architecture.elements}
    rows: list[list[Child]] = [
        [
            control.name,
            badge(control.state.value, control.state.tone),
            f"{names[flow.source]} → {names[flow.target]}",
            control.where,
        ]
        for flow in architecture.flows
        for control in flow.controls
    ]
    return table(["Control", "State", "Flow", "Where"], rows)
