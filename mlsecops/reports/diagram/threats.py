"""Threat catalogue of a machine-learning pipeline, by STRIDE and MITRE ATLAS.

Architecture → for each threat, its controls in their actual state

Source: MITRE ATLAS, techniques; Microsoft, The STRIDE Threat Model.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.monitoring.controls import DROPS
from mlsecops.reports.diagram.model import Architecture, Control, ControlState


class Stride(enum.Enum):
    """Categories of the STRIDE threat model."""

    SPOOFING = "Spoofing"
    TAMPERING = "Tampering"
    REPUDIATION = "Repudiation"
    DISCLOSURE = "Information disclosure"
    DENIAL = "Denial of service"
    ELEVATION = "Elevation of privilege"


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """One technique of an attacker.

    Attributes:
        stride: Category.
        atlas: MITRE ATLAS technique id, or "" without one.
        technique: Name of the technique.
        story: What the attacker does, in one sentence.
        countered_by: Names of the controls against it.
    """

    stride: Stride
    atlas: str
    technique: str
    story: str
    countered_by: tuple[str, ...]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatStatus:
    """A threat and the controls of a pipeline against it.

    Attributes:
        threat: The threat.
        controls: Its enforced and advisory controls.
    """

    threat: Threat
    controls: tuple[Control, ...]

    @property
    def state(self) -> ControlState:
        """State of the strongest control; absent (unmitigated) without one."""
        states = {control.state for control in self.controls}
        return next((state for state in ControlState if state in states), ControlState.ABSENT)


@checked
def threat_statuses(architecture: Architecture) -> tuple[ThreatStatus, ...]:
    """Each threat of the catalogue with the controls of an architecture.

    Examples:
        >>> from mlsecops.reports.diagram.blueprint import blueprint
        >>> {each.state.value for each in threat_statuses(blueprint({}))}
        {'absent'}
    """
    present = [each for each in architecture.controls if each.state is not ControlState.ABSENT]
    return tuple(
        ThreatStatus(
            threat=threat,
            controls=tuple(control for control in present if control.name in threat.countered_by),
        )
        for threat in THREATS
    )


THREATS: Final[tuple[Threat, ...]] = tuple(
    Threat(stride=stride, atlas=atlas, technique=technique, story=story, countered_by=names)
    for stride, atlas, technique, story, names in (
        (Stride.SPOOFING, "AML.T0010.003", "AI Supply Chain Compromise: Model",
         "The released model is replaced with another one.",
         ("Signature", "Signature check", "Registry log")),
        (Stride.TAMPERING, "AML.T0020", "Poison Training Data",
         "Rows or labels are changed, so that the model learns what the attacker wants.",
         ("Dataset digest", "Data screening")),
        (Stride.TAMPERING, "AML.T0010.002", "AI Supply Chain Compromise: Data",
         "The data set is replaced between collection and training.",
         ("Dataset digest", "Provenance")),
        (Stride.TAMPERING, "AML.T0018.000", "Manipulate AI Model: Poison AI Model",
         "Weights are edited after training, or a backdoor is trained into the model.",
         ("Poisoning detection", "Signature", "Signature check")),
        (Stride.TAMPERING, "AML.T0015", "Evade AI Model",
         "Inputs are slightly perturbed, so that the answer is wrong.",
         ("Robustness gate", "Input anomaly")),
        (Stride.TAMPERING, "AML.T0031", "Erode AI Model Integrity",
         "Traffic drifts, by chance or on purpose, until the model no longer fits it.",
         ("Drift", "Accuracy on labels")),
        (Stride.REPUDIATION, "", "Denial of a release or a change",
         "Nobody can prove who released which bytes, or the record is removed.",
         ("Provenance", "Registry log", "Evidence")),
        (Stride.DISCLOSURE, "AML.T0024.002", "Exfiltration via AI Inference API: Extract AI Model",
         "A client collects enough answers to train a copy of the model.",
         ("Extraction detector", "Rate limit")),
        (Stride.DISCLOSURE, "AML.T0024.000",
         "Exfiltration via AI Inference API: Infer Training Data Membership",
         "A client learns whether a person's record was in the training data.",
         ("Output perturbation",)),
        (Stride.DISCLOSURE, "AML.T0035", "AI Artifact Collection",
         "Data sets or models are read without authorisation.", ("Access control",)),
        (Stride.DENIAL, "AML.T0029", "Denial of AI Service",
         "Requests overload the model or its monitoring.", ("Rate limit", DROPS)),
        (Stride.DENIAL, "AML.T0034", "Cost Harvesting",
         "Queries are sent to increase the operator's cost.", ("Rate limit",)),
        (Stride.ELEVATION, "AML.T0011.000", "User Execution: Unsafe AI Artifacts",
         "A model file runs code when it is loaded.", ("Content scan", "Sealed loading")),
        (Stride.ELEVATION, "AML.T0018.002", "Manipulate AI Model: Embed Malware",
         "A malicious model is still served after its discovery.",
         ("Isolation", "Verified rollback", "Content scan")),
    )
)  # fmt: skip
"""Catalogue of threats, by STRIDE category."""
