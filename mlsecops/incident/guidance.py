"""What people should do in each kind of incident, step by step.

Source: NIST SP 800-61r3 and the CoSAI AI Incident Response Framework 1.0 for the order of steps;
MITRE ATLAS for techniques (AML.T…) and mitigations (AML.M…).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

__all__ = ["KINDS", "Kind", "instructions", "kind_of", "title_of"]

Kind = Literal["poisoning", "extraction", "adversarial", "prompt-injection"]
KINDS: Final[tuple[Kind, ...]] = ("poisoning", "extraction", "adversarial", "prompt-injection")

_TECHNIQUES: Final[dict[str, Kind]] = {
    "AML.T0010": "poisoning",
    "AML.T0018": "poisoning",
    "AML.T0019": "poisoning",
    "AML.T0020": "poisoning",
    "AML.T0024": "extraction",
    "AML.T0015": "adversarial",
    "AML.T0043": "adversarial",
    "AML.T0051": "prompt-injection",
    "AML.T0054": "prompt-injection",
}
_RULES: Final[dict[str, Kind]] = {
    "label-noise": "poisoning",
    "backdoor": "poisoning",
    "accuracy-drop": "poisoning",
    "extraction": "extraction",
    "query-rate": "extraction",
    "input-anomaly": "adversarial",
    "confidence-low": "adversarial",
    "drift": "adversarial",
    "injection": "prompt-injection",
    "prompt-injection": "prompt-injection",
}
_TITLES: Final = {
    "isolate": "Isolate the digest",
    "evidence": "Seal the evidence",
    "assess": "Assess what else is touched",
    "rollback": "Roll back to a version that verifies now",
    "remediate": "Remove the cause",
    "validate": "Validate what serves now",
    "close": "Close the incident",
}
_GENERAL: Final = {
    "isolate": (
        "Quarantine the model's digest in the registry: loaders and running servers refuse it from "
        "their next check on. Without a digest, find the model that the alert is about, quarantine "
        "its digest, and open the incident with digest=."
    ),
    "evidence": "Seal alert, history, log checkpoint, monitor state and lineage before changes.",
    "assess": (
        "List every version with this digest, the data sets it came from, and the versions that "
        "were trained on the same data or on the isolated digest (AML.M0025)."
    ),
    "rollback": (
        "Let the newest older version serve that verifies now, is not quarantined or revoked, and "
        "is not below the floor (AML.M0014). If there is none, publish and promote a good version."
    ),
    "remediate": "Find the cause, remove it, and record what was done.",
    "validate": "Run the robustness gate on the version that serves, and keep its report.",
    "close": "Review the evidence and the steps, tell those concerned, and approve the closing.",
}
_PARTICULAR: Final[dict[Kind, dict[str, str]]] = {
    "poisoning": {
        "remediate": (
            "Verify every data set of the lineage against its manifest, screen it with "
            "screen_dataset, remove the suspects, quarantine data that cannot be trusted by its "
            "digest, and train, sign and publish again (AML.M0007, AML.M0025)."
        ),
        "validate": (
            "Run detect_poisoning and the robustness gate on the version that serves; if it was "
            "trained on the same data, quarantine it too."
        ),
    },
    "extraction": {
        "remediate": (
            "Block the client that the alert names, tighten its query rate, return fewer digits or "
            "only labels, and assume that what it queried is known (AML.M0002, AML.M0004)."
        ),
        "validate": "Replay the client's queries against the guards: they must be refused.",
    },
    "adversarial": {
        "remediate": (
            "Reproduce the inputs from the evidence, train adversarially or add an input guard, "
            "then sign and publish the stronger version (AML.M0003, AML.M0015)."
        ),
        "validate": "Run FGSM and PGD through the gate on the version that serves.",
    },
    "prompt-injection": {
        "remediate": (
            "Find the text that carried the instruction, remove it from prompts, documents and "
            "memory, take away tools that the task does not need, rotate secrets that the model "
            "could read, and add a guard (AML.M0020)."
        ),
        "validate": "Run the fuzzing campaign again: the payload of the incident must fail.",
    },
}


def kind_of(subject: Mapping[str, Any]) -> Kind | None:
    """Which kind of incident an alert or finding is, by its ATLAS technique, else by its rule.

    Args:
        subject: The alert or finding, as plain values.
    """
    technique = ".".join(str(subject.get("atlas") or "").split(".")[:2])
    return _TECHNIQUES.get(technique) or _RULES.get(str(subject.get("rule")))


def title_of(step: str) -> str:
    """Title of a step, for people."""
    return _TITLES[step]


def instructions(step: str, kind: Kind | None) -> str:
    """What the step does or asks people to do."""
    return (_PARTICULAR[kind].get(step) if kind else None) or _GENERAL[step]
