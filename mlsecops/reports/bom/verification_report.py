"""Verification report of a bill of materials: fields, their states, findings and the score."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr
from mlsecops.findings import Finding, Severity

_PLACEHOLDER: Final = re.compile(
    r"(?i)\s*(?:|[-?.x*_]+|unknown|n/?a|none|null|nil|todo|tbd|tba|fixme|placeholder|unspecified|"
    r"undefined|no-?assertion|not (?:specified|available|provided|applicable|known|disclosed)|"
    r"example|changeme|0+)\s*"
)


class FieldState(enum.Enum):
    """State of a field: proven, unproven, empty of meaning, or missing."""

    VERIFIED = "verified"
    ASSERTED = "asserted"
    PLACEHOLDER = "placeholder"
    ABSENT = "absent"


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class BomField:
    """One field of the bill.

    Attributes:
        name: Name (`"model.digest"`, `"dataset.digits"`).
        state: State.
        detail: Reason for the state, in one sentence.
        counts: Whether the field can be verified and is part of the score.
        word: Whether it is a statement of the author in words.
    """

    name: str
    state: FieldState
    detail: str
    counts: bool = True
    word: bool = False


def _view(report: BomReport) -> NotebookView:
    findings = [(each.severity.label, each.rule, each.message) for each in report.findings]
    rows = [*findings, *((each.state.value, each.name, each.detail) for each in report.fields)]
    title = f"Bill of materials: {'holds' if report.holds else 'refused'}"
    return NotebookView(title, [("score", report.score)], ("state", "field", "detail"), rows)


@notebook_view(_view)
@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class BomReport:
    """Result of the verification of a bill.

    Attributes:
        fields: Every field with its state.
        findings: Contradictions and malformed parts of the bill.

    Examples:
        >>> field = BomField(name="signer", state=FieldState.VERIFIED, detail="signed")
        >>> BomReport(fields=(field,), findings=()).score
        100.0
    """

    fields: tuple[BomField, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether no finding is of high severity."""
        return all(finding.severity < Severity.HIGH for finding in self.findings)

    @property
    def score(self) -> float:
        """Percentage of the verifiable fields that are verified; 0 when it does not hold.

        It is multiplied by the share of the stated words that have a meaning: a bill whose every
        word is "unknown" scores 0.
        """
        verified = [field.state is FieldState.VERIFIED for field in self.fields if field.counts]
        words = [field.state for field in self.fields if field.word]
        stated = [state for state in words if state is not FieldState.ABSENT]
        empty = stated.count(FieldState.PLACEHOLDER)
        meaning = 1 - empty / len(stated) if stated else 1.0
        whole = 100 * meaning * sum(verified) / len(verified) if verified else 0.0
        return round(whole, 1) if self.holds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "score": self.score,
            "findings": [finding.to_dict() for finding in self.findings],
            "fields": [
                {"name": field.name, "state": field.state.value, "detail": field.detail}
                for field in self.fields
            ],
        }


def is_placeholder(value: Any) -> bool:
    """Whether a value has no meaning, such as "unknown".

    Examples:
        >>> is_placeholder("TBD"), is_placeholder("Apache-2.0")
        (True, False)
    """
    if isinstance(value, str):
        return _PLACEHOLDER.fullmatch(value) is not None
    if isinstance(value, Mapping):
        return all(is_placeholder(each) for each in value.values())
    return isinstance(value, list) and all(is_placeholder(each) for each in value)
