"""Kinds of incidents, with instructions, ATLAS techniques and deadlines of each step.

alert or finding → kind (ATLAS technique, else rule) → instructions of a step in `guidance.toml`

Source: NIST SP 800-61r3 and the CoSAI AI Incident Response Framework 1.0 for the order of steps;
MITRE ATLAS for techniques (AML.T…) and mitigations (AML.M…).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, Literal, get_args

__all__ = [
    "DEADLINES", "DEFAULT_STEPS", "KINDS", "NAMES", "TECHNIQUES", "TITLES", "Kind", "instructions",
    "kind_of",
]  # fmt: skip

Kind = Literal[
    "poisoned-model",
    "extraction",
    "adversarial",
    "prompt-injection",
    "tampered-artifact",
    "leaked-key",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_TABLE: Final[dict[str, Any]] = tomllib.loads(
    files("mlsecops.incident").joinpath("guidance.toml").read_text("utf-8")
)
TITLES: Final[Mapping[str, str]] = _TABLE["titles"]
TECHNIQUES: Final[Mapping[str, list[str]]] = _TABLE["techniques"]
NAMES: Final[Mapping[str, str]] = _TABLE["names"]
DEADLINES: Final[Mapping[str, float]] = _TABLE["deadlines"]  # hours after the opening
DEFAULT_STEPS: Final = tuple(TITLES)


def kind_of(subject: Mapping[str, Any]) -> Kind | None:
    """Kind of incident of an alert, finding or report: its own, its ATLAS technique or its rule.

    Args:
        subject: The alert, finding or report, as plain values.

    Examples:
        >>> kind_of({"atlas": "AML.T0051.000", "rule": "custom"})
        'prompt-injection'
    """
    technique = ".".join(str(subject.get("atlas") or "").split(".")[:2])
    for kind in KINDS:
        if subject.get("kind") == kind:
            return kind
    for table, name in (("techniques", technique), ("rules", str(subject.get("rule")))):
        for kind in KINDS:
            if name in _TABLE[table][kind]:
                return kind
    return None


def instructions(step: str, kind: Kind | None) -> str:
    """Instructions of a step for a kind of incident, else the general ones."""
    texts: Mapping[str, Mapping[str, str]] = _TABLE["instructions"]
    return texts[kind or "any"].get(step) or texts["any"][step]
