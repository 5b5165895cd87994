"""What a pipeline is made of, and which controls stand on its data flows in which state.

An Architecture is a plain value. `mlsecops.reports.diagram.layout` places it,
`mlsecops.reports.diagram.svg` draws it, `mermaid` writes it as text, and
`mlsecops.reports.pages.architecture` shows it with its threats.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlsecops.errors import UsageError
from mlsecops.reports.rendering.page import Tone


class ControlState(enum.Enum):
    """What a control really does in the configured pipeline."""

    ENFORCED = "enforced"
    ADVISORY = "advisory"
    ABSENT = "absent"

    @property
    def tone(self) -> Tone:
        """Colour that says it."""
        return _TONES[self]


_TONES: Final[dict[ControlState, Tone]] = {
    ControlState.ENFORCED: "good",
    ControlState.ADVISORY: "warn",
    ControlState.ABSENT: "bad",
}


class ElementKind(enum.Enum):
    """What an element of the data flow is."""

    ACTOR = "actor"
    PROCESS = "process"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Something that stands between an attacker and a data flow.

    Attributes:
        name: What it is called, as in the table of threats.
        state: Enforced (it refuses), advisory (it tells), or absent.
        where: Where it is configured or runs.
    """

    name: str
    state: ControlState
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Somebody, something that works, or something that keeps.

    Attributes:
        id: Unique name in flows.
        name: What people call it.
        kind: Actor, process or store.
        boundary: Id of the trust boundary it stands in.
        note: A few words more.
    """

    id: str
    name: str
    kind: ElementKind
    boundary: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A region within which trust is alike.

    Attributes:
        id: Unique name in elements.
        name: What people call it.
        stage: Column in the picture, counted from the left; boundaries of one stage are stacked.
    """

    id: str
    name: str
    stage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Data that goes from one element to another.

    Attributes:
        source: Id of the element it comes from.
        target: Id of the element it goes to.
        label: What flows.
        controls: What stands in its way.
    """

    source: str
    target: str
    label: str
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A pipeline as a data-flow diagram.

    Attributes:
        elements: In the order in which they stand inside their boundaries.
        flows: Data flows with their controls.
        boundaries: Trust boundaries.
        title: What the pipeline is called.

    Raises:
        UsageError: Ids are not unique, something points at an id that is not there, a flow leads
            back to its own element, or two elements of one stage are joined that are no neighbours.
    """

    elements: tuple[Element, ...]
    flows: tuple[Flow, ...]
    boundaries: tuple[Boundary, ...]
    title: str = "Pipeline"

    def __post_init__(self) -> None:
        _unique("element", [each.id for each in self.elements])
        _unique("boundary", [each.id for each in self.boundaries])
        for element in self.elements:
            _known("boundary", element.boundary, {each.id for each in self.boundaries})
        for flow in self.flows:
            for end in (flow.source, flow.target):
                _known("element", end, {each.id for each in self.elements})
            self._drawable(flow)

    def column(self, stage: int) -> tuple[Element, ...]:
        """Elements of a stage from top to bottom."""
        boundaries = [each.id for each in self.boundaries if each.stage == stage]
        return tuple(
            element
            for boundary in boundaries
            for element in self.elements
            if element.boundary == boundary
        )

    def stage_of(self, element: str) -> int:
        """Stage that an element stands in."""
        boundary = next(each.boundary for each in self.elements if each.id == element)
        return next(each.stage for each in self.boundaries if each.id == boundary)

    @property
    def controls(self) -> tuple[Control, ...]:
        """All controls, flow by flow."""
        return tuple(control for flow in self.flows for control in flow.controls)

    def _drawable(self, flow: Flow) -> None:
        stage = self.stage_of(flow.source)
        if stage != self.stage_of(flow.target):
            return
        places = [element.id for element in self.column(stage)]
        if abs(places.index(flow.source) - places.index(flow.target)) != 1:
            raise UsageError(
                f"flow {flow.source!r} → {flow.target!r}: elements of one stage are joined only "
                "when one stands below the other; reorder them or move one to another stage"
            )


def _unique(what: str, ids: list[str]) -> None:
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise UsageError(f"architecture: {what} ids must be unique, got {twice[0]!r} twice")


def _known(what: str, wanted: str, ids: Iterable[str]) -> None:
    if wanted not in ids:
        raise UsageError(f"architecture: no {what} has the id {wanted!r}")


_UNSAFE: Final = re.compile(r"[^\w \-.,:/+·→()]")


def mermaid(architecture: Architecture) -> str:
    """The diagram as Mermaid text.

    Source: Mermaid, Flowchart syntax. Text is quoted and stripped of everything that ends a quote
    or starts markup.
    """
    names = {each.id: f"e{index}" for index, each in enumerate(architecture.elements)}
    shapes = {
        ElementKind.ACTOR: ('(["', '"])'),
        ElementKind.PROCESS: ('["', '"]'),
        ElementKind.STORE: ('[("', '")]'),
    }
    lines = ["flowchart LR"]
    for index, boundary in enumerate(architecture.boundaries):
        lines.append(f'  subgraph b{index}["{_plain(boundary.name)}"]')
        for element in architecture.elements:
            if element.boundary == boundary.id:
                before, after = shapes[element.kind]
                lines.append(f"    {names[element.id]}{before}{_plain(element.name)}{after}")
        lines.append("  end")
    for flow in architecture.flows:
        text = "<br/>".join([_plain(flow.label), *(_control(each) for each in flow.controls)])
        lines.append(f'  {names[flow.source]} -->|"{text}"| {names[flow.target]}')
    lines += _link_styles(architecture.flows)
    return "\n".join(lines) + "\n"


def weakest(controls: Iterable[Control]) -> ControlState:
    """The state of the weakest control; absent when there is none."""
    order = (ControlState.ABSENT, ControlState.ADVISORY, ControlState.ENFORCED)
    states = {control.state for control in controls}
    return next((state for state in order if state in states), ControlState.ABSENT)


_STROKES: Final = {
    ControlState.ENFORCED: "stroke:#0b7a53",
    ControlState.ADVISORY: "stroke:#8f5200,stroke-dasharray:6 4",
    ControlState.ABSENT: "stroke:#b3261e,stroke-dasharray:2 4",
}


def _link_styles(flows: tuple[Flow, ...]) -> list[str]:
    return [
        f"  linkStyle {index} {_STROKES[weakest(flow.controls)]}"
        for index, flow in enumerate(flows)
    ]


def _control(control: Control) -> str:
    return f"{_plain(control.name)} ({control.state.value})"


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", " ".join(text.split()))
