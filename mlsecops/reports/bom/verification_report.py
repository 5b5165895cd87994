"""What a verification of a bill of materials concluded: fields, their states, and the score."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._repr import concise_repr
from mlsecops.findings import Finding, Severity

_PLACEHOLDER: Final = re.compile(
    r"(?i)\s*(?:|[-?.x*_]+|unknown|n/?a|none|null|nil|todo|tbd|tba|fixme|placeholder|unspecified|"
    r"undefined|no-?assertion|not (?:specified|available|provided|applicable|known|disclosed)|"
    r"example|changeme|0+)\s*"
)


class FieldState(enum.Enum):
    """What is known of a field."""

    VERIFIED = "verified"
    ASSERTED = "asserted"
    PLACEHOLDER = "placeholder"
    ABSENT = "absent"


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class BomField:
    """One statement of the bill.

    Attributes:
        name: What it is about (`"model.digest"`, `"dataset.digits"`).
        state: What is known of it.
        detail: One sentence for people.
        counts: Whether it can be verified at all, and so counts in the score.
    """

    name: str
    state: FieldState
    detail: str
    counts: bool = True


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class BomReport:
    """What a verification of a bill found.

    Attributes:
        fields: Every statement with its state.
        findings: What contradicts the bill or is malformed in it.
    """

    fields: tuple[BomField, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing of high severity was found."""
        return all(finding.severity < Severity.HIGH for finding in self.findings)

    @property
    def score(self) -> float:
        """Verified fields among those that can be verified, 0 to 100; 0 when it does not hold."""
        counted = [field for field in self.fields if field.counts]
        if not self.holds or not counted:
            return 0.0
        verified = sum(field.state is FieldState.VERIFIED for field in counted)
        return round(100 * verified / len(counted), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "score": self.score,
            "findings": [
                {
                    "rule": finding.rule,
                    "severity": finding.severity.label,
                    "message": finding.message,
                    "where": finding.where,
                }
                for finding in self.findings
            ],
            "fields": [
                {"name": field.name, "state": field.state.value, "detail": field.detail}
                for field in self.fields
            ],
        }


def is_placeholder(value: Any) -> bool:
    """Whether a value only pretends to say something."""
    if isinstance(value, str):
        return _PLACEHOLDER.fullmatch(value) is not None
    if isinstance(value, Mapping):
        return all(is_placeholder(each) for each in value.values())
    return isinstance(value, list) and all(is_placeholder(each) for each in value)
