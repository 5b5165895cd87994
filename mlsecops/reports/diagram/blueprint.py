"""Standard architecture of a pipeline built with this library.

state of each control → Architecture; a control without a state is absent
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.monitoring.controls import DROPS
from mlsecops.reports.diagram.model import (
    Architecture,
    Boundary,
    Control,
    ControlState,
    Element,
    ElementKind,
    Flow,
)

_BOUNDARIES: Final = (
    Boundary(id="suppliers", name="Data suppliers", stage=0),
    Boundary(id="training", name="Training", stage=0),
    Boundary(id="release", name="Release", stage=1),
    Boundary(id="serving", name="Serving", stage=2),
    Boundary(id="internet", name="Clients", stage=3),
    Boundary(id="operations", name="Operations", stage=3),
)
_ELEMENTS: Final = (
    ("source", "Data source", ElementKind.ACTOR, "suppliers", "not under our control"),
    ("training", "Training run", ElementKind.PROCESS, "training", "data, code, parameters"),
    ("evaluation", "Evaluation", ElementKind.PROCESS, "training", "attacks and checks"),
    ("registry", "Registry", ElementKind.STORE, "release", "write-once versions"),
    ("signer", "Signer", ElementKind.PROCESS, "release", "holds the key"),
    ("loader", "Loader", ElementKind.PROCESS, "serving", "loads verified bytes"),
    ("server", "Monitored model", ElementKind.PROCESS, "serving", "guards and detectors"),
    ("client", "Client", ElementKind.ACTOR, "internet", "may be an attacker"),
    ("incident", "Incident response", ElementKind.PROCESS, "operations", "playbook"),
)
_FLOWS: Final = (
    ("source", "training", "training data", ("Dataset digest", "Data screening", "Access control")),
    ("training", "evaluation", "candidate model", ("Poisoning detection",)),
    (
        "evaluation",
        "signer",
        "model that passed",
        ("Robustness gate", "Injection campaign", "Provenance"),
    ),
    ("signer", "registry", "signed model", ("Signature", "Bill of materials", "Registry log")),
    ("registry", "loader", "model folder", ("Signature check", "Content scan", "Sealed loading")),
    ("loader", "server", "verified model", ("Isolation",)),
    ("client", "server", "queries", ("Rate limit", "Input checks", "Input anomaly")),
    ("server", "client", "answers", ("Extraction detector", "Output perturbation")),
    (
        "server",
        "incident",
        "telemetry and alerts",
        ("Drift", "Accuracy on labels", DROPS),
    ),
    ("incident", "registry", "isolate, roll back", ("Evidence", "Verified rollback")),
)

CONTROLS: Final[tuple[str, ...]] = tuple(name for *_, names in _FLOWS for name in names)
"""Names of the controls that a pipeline may have."""


@checked
def blueprint(
    states: Mapping[str, tuple[ControlState, str]], *, title: str = "Pipeline"
) -> Architecture:
    """The architecture of a configured pipeline.

    Args:
        states: Control → its actual state, and where it is configured or runs.
        title: Name of the pipeline.

    Raises:
        UsageError: A control is not one of `CONTROLS`.

    Examples:
        >>> pipeline = blueprint({"Isolation": (ControlState.ENFORCED, "gateway")})
        >>> sum(each.state is ControlState.ENFORCED for each in pipeline.controls)
        1
    """
    unknown = sorted(set(states) - set(CONTROLS))
    if unknown:
        raise UsageError(f"control: expected one of {', '.join(CONTROLS)}, got {unknown[0]!r}")
    return Architecture(
        title=title,
        boundaries=_BOUNDARIES,
        elements=tuple(
            Element(id=id_, name=name, kind=kind, boundary=boundary, note=note)
            for id_, name, kind, boundary, note in _ELEMENTS
        ),
        flows=tuple(
            Flow(
                source=source,
                target=target,
                label=label,
                controls=tuple(_control(name, states) for name in names),
            )
            for source, target, label, names in _FLOWS
        ),
    )


def _control(name: str, states: Mapping[str, tuple[ControlState, str]]) -> Control:
    state, where = states.get(name, (ControlState.ABSENT, "not configured"))
    return Control(name=name, state=state, where=where)
