"""Instructions for each step of an incident, by kind of incident.

alert or finding → kind (ATLAS technique, else rule) → instructions of a step in `guidance.toml`

Source: NIST SP 800-61r3 and the CoSAI AI Incident Response Framework 1.0 for the order of steps;
MITRE ATLAS for techniques (AML.T…) and mitigations (AML.M…).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, Literal

__all__ = ["DEFAULT_STEPS", "KINDS", "TITLES", "Kind", "instructions", "kind_of"]

Kind = Literal["poisoning", "extraction", "adversarial", "prompt-injection"]
KINDS: Final[tuple[Kind, ...]] = ("poisoning", "extraction", "adversarial", "prompt-injection")

_TABLE: Final[dict[str, Any]] = tomllib.loads(
    files("mlsecops.incident").joinpath("guidance.toml").read_text("utf-8")
)
TITLES: Final[Mapping[str, str]] = _TABLE["titles"]
DEFAULT_STEPS: Final = tuple(TITLES)


def kind_of(subject: Mapping[str, Any]) -> Kind | None:
    """Kind of incident of an alert or finding, by its ATLAS technique, else by its rule.

    Args:
        subject: The alert or finding, as plain values.

    Examples:
        >>> kind_of({"atlas": "AML.T0051.000", "rule": "custom"})
        'prompt-injection'
    """
    technique = ".".join(str(subject.get("atlas") or "").split(".")[:2])
    for table, name in (("techniques", technique), ("rules", str(subject.get("rule")))):
        for kind in KINDS:
            if name in _TABLE[table][kind]:
                return kind
    return None


def instructions(step: str, kind: Kind | None) -> str:
    """Instructions of a step for a kind of incident, else the general ones."""
    texts: Mapping[str, Mapping[str, str]] = _TABLE["instructions"]
    return texts[kind or "any"].get(step) or texts["any"][step]
