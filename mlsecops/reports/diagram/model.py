"""Data-flow model of a pipeline: elements, trust boundaries, flows and controls.

elements, boundaries, flows with controls → Architecture → Mermaid text
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.reports.rendering.page import Tone


class ControlState(enum.Enum):
    """Actual state of a control in the configured pipeline, strongest first."""

    ENFORCED = "enforced"
    ADVISORY = "advisory"
    ABSENT = "absent"

    @property
    def tone(self) -> Tone:
        """Colour of the state."""
        return _LOOKS[self][0]


_LOOKS: Final[dict[ControlState, tuple[Tone, str]]] = {
    ControlState.ENFORCED: ("good", "stroke:#0b7a53"),
    ControlState.ADVISORY: ("warn", "stroke:#8f5200,stroke-dasharray:6 4"),
    ControlState.ABSENT: ("bad", "stroke:#b3261e,stroke-dasharray:2 4"),
}
"""State → tone, and Mermaid link style in the colours of `mlsecops.reports.rendering.page`."""


class ElementKind(enum.Enum):
    """Kind of an element: an external actor, a process, or a data store."""

    ACTOR = "actor"
    PROCESS = "process"
    STORE = "store"


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A security control on a data flow.

    Attributes:
        name: Name, as in the table of threats.
        state: Enforced (it refuses), advisory (it reports), or absent.
        where: Where it is configured or runs.
    """

    name: str
    state: ControlState
    where: str


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """An actor, process or store.

    Attributes:
        id: Unique id, for flows.
        name: Display name.
        kind: Actor, process or store.
        boundary: Id of its trust boundary.
        note: Short description.
    """

    id: str
    name: str
    kind: ElementKind
    boundary: str
    note: str = ""


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A trust boundary.

    Attributes:
        id: Unique id, for elements.
        name: Display name.
        stage: Column in the picture, from the left; boundaries of one stage are stacked.
    """

    id: str
    name: str
    stage: int


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A data flow between two elements.

    Attributes:
        source: Id of the source element.
        target: Id of the target element.
        label: Name of the data.
        controls: Controls on the flow.
    """

    source: str
    target: str
    label: str
    controls: tuple[Control, ...] = ()


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A pipeline as a data-flow diagram.

    Attributes:
        elements: Elements, in the order within their boundaries.
        flows: Data flows with their controls.
        boundaries: Trust boundaries.
        title: Name of the pipeline.

    Raises:
        UsageError: An id is repeated or unknown, or a flow within a stage skips an element.
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
        """Stage of an element."""
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
                f"flow {flow.source!r} → {flow.target!r}: expected, within one stage, an element "
                "directly below the other; reorder them or move one to another stage"
            )


def _unique(what: str, ids: list[str]) -> None:
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise UsageError(f"architecture: expected unique {what} ids, got {twice[0]!r} twice")


def _known(what: str, wanted: str, ids: Iterable[str]) -> None:
    if wanted not in ids:
        raise UsageError(f"architecture: expected the id of a {what}, got {wanted!r}")


_UNSAFE: Final = re.compile(r"[^\w \-.,:/+·→()]")


@checked
def mermaid(architecture: Architecture) -> str:
    """The diagram as Mermaid text, without characters that end a quote or start markup.

    Source: Mermaid, Flowchart syntax.
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
        controls = (f"{_plain(each.name)} ({each.state.value})" for each in flow.controls)
        text = "<br/>".join([_plain(flow.label), *controls])
        lines.append(f'  {names[flow.source]} -->|"{text}"| {names[flow.target]}')
    lines += [
        f"  linkStyle {index} {_LOOKS[weakest(flow.controls)][1]}"
        for index, flow in enumerate(architecture.flows)
    ]
    return "\n".join(lines) + "\n"


def weakest(controls: Iterable[Control]) -> ControlState:
    """The state of the weakest control; absent without one.

    Examples:
        >>> weakest([]).value
        'absent'
    """
    states = {control.state for control in controls}
    return next((each for each in reversed(ControlState) if each in states), ControlState.ABSENT)


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", " ".join(text.split()))
