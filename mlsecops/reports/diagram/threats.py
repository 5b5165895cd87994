"""Which attacks a pipeline faces, and which control of it stands against each.

The catalogue joins STRIDE and MITRE ATLAS; an Architecture comes in, and for every threat the
controls that counter it *in their actual state* go out, or the word "unmitigated".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from mlsecops.reports.diagram.model import Architecture, Control, ControlState


class Stride(enum.Enum):
    """Microsoft's six kinds of threat."""

    SPOOFING = "Spoofing"
    TAMPERING = "Tampering"
    REPUDIATION = "Repudiation"
    DISCLOSURE = "Information disclosure"
    DENIAL = "Denial of service"
    ELEVATION = "Elevation of privilege"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """Something an attacker does.

    Attributes:
        stride: Its kind.
        atlas: MITRE ATLAS technique id, or "" where it has none.
        technique: The technique's name.
        story: One sentence.
        countered_by: Names of the controls that counter it.
    """

    stride: Stride
    atlas: str
    technique: str
    story: str
    countered_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A threat and what a given pipeline has against it.

    Attributes:
        threat: Which threat.
        controls: Its controls that are enforced or advisory.
    """

    threat: Threat
    controls: tuple[Control, ...]

    @property
    def state(self) -> ControlState:
        """Enforced if one control is, else advisory if one is, else absent (unmitigated)."""
        states = {control.state for control in self.controls}
        for state in (ControlState.ENFORCED, ControlState.ADVISORY):
            if state in states:
                return state
        return ControlState.ABSENT


def standings(architecture: Architecture) -> tuple[Standing, ...]:
    """What an architecture has against each threat of the catalogue."""
    present = [each for each in architecture.controls if each.state is not ControlState.ABSENT]
    return tuple(
        Standing(
            threat=threat,
            controls=tuple(control for control in present if control.name in threat.countered_by),
        )
        for threat in THREATS
    )


THREATS: Final[tuple[Threat, ...]] = (
    Threat(
        stride=Stride.SPOOFING,
        atlas="AML.T0010.003",
        technique="AI Supply Chain Compromise: Model",
        story="A model from somebody else is put in the place of the released one.",
        countered_by=("Signature", "Signature check", "Registry log"),
    ),
    Threat(
        stride=Stride.TAMPERING,
        atlas="AML.T0020",
        technique="Poison Training Data",
        story="Rows or labels are changed so that the model learns what the attacker wants.",
        countered_by=("Dataset digest", "Data screening"),
    ),
    Threat(
        stride=Stride.TAMPERING,
        atlas="AML.T0010.002",
        technique="AI Supply Chain Compromise: Data",
        story="The data set is exchanged between its collection and the training run.",
        countered_by=("Dataset digest", "Provenance"),
    ),
    Threat(
        stride=Stride.TAMPERING,
        atlas="AML.T0018.000",
        technique="Manipulate AI Model: Poison AI Model",
        story="Weights are edited after training, or a backdoor is trained in.",
        countered_by=("Poisoning detection", "Signature", "Signature check"),
    ),
    Threat(
        stride=Stride.TAMPERING,
        atlas="AML.T0015",
        technique="Evade AI Model",
        story="Inputs are perturbed by a little so that the answer is wrong.",
        countered_by=("Robustness gate", "Input anomaly"),
    ),
    Threat(
        stride=Stride.TAMPERING,
        atlas="AML.T0031",
        technique="Erode AI Model Integrity",
        story="Traffic drifts, by chance or on purpose, until the model no longer fits.",
        countered_by=("Drift", "Accuracy on labels"),
    ),
    Threat(
        stride=Stride.REPUDIATION,
        atlas="",
        technique="Denial of a release or a change",
        story="Nobody can say who released which bytes, or a record of it is removed.",
        countered_by=("Provenance", "Registry log", "Evidence"),
    ),
    Threat(
        stride=Stride.DISCLOSURE,
        atlas="AML.T0024.002",
        technique="Exfiltration via AI Inference API: Extract AI Model",
        story="A client asks until its answers are enough to train a copy.",
        countered_by=("Extraction detector", "Rate limit"),
    ),
    Threat(
        stride=Stride.DISCLOSURE,
        atlas="AML.T0024.000",
        technique="Exfiltration via AI Inference API: Infer Training Data Membership",
        story="A client finds out whether a person's record was in the training data.",
        countered_by=("Output perturbation",),
    ),
    Threat(
        stride=Stride.DISCLOSURE,
        atlas="AML.T0035",
        technique="AI Artifact Collection",
        story="Data sets or models are read by somebody who need not see them.",
        countered_by=("Access control",),
    ),
    Threat(
        stride=Stride.DENIAL,
        atlas="AML.T0029",
        technique="Denial of AI Service",
        story="Requests flood the model, or blind its monitoring.",
        countered_by=("Rate limit", "Dropped calls counted"),
    ),
    Threat(
        stride=Stride.DENIAL,
        atlas="AML.T0034",
        technique="Cost Harvesting",
        story="Queries are sent to run up the bill.",
        countered_by=("Rate limit",),
    ),
    Threat(
        stride=Stride.ELEVATION,
        atlas="AML.T0011.000",
        technique="User Execution: Unsafe AI Artifacts",
        story="A model file runs code when it is opened.",
        countered_by=("Content scan", "Sealed loading"),
    ),
    Threat(
        stride=Stride.ELEVATION,
        atlas="AML.T0018.002",
        technique="Manipulate AI Model: Embed Malware",
        story="A known-bad model goes on being served after it was found out.",
        countered_by=("Isolation", "Verified rollback", "Content scan"),
    ),
)
