"""Scan results: findings, unchecked parts and external data of one file or folder.

scanner of a format → Examination → Verdict → JSON, or UnsafeContent
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr
from mlsecops.errors import (
    ChangedDuringLoad,
    ContentRefused,
    FormatRefused,
    LimitExceeded,
    UnsafeContent,
)
from mlsecops.findings import Finding, Severity

REFUSES: Final = Severity.HIGH


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """Something that a scan did not look into.

    Attributes:
        what: File or entry.
        why: The reason.
    """

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalData:
    """Another file that a model reads part of.

    Attributes:
        name: Its name, relative to the model's folder.
        end: Bytes that it must have at least.
        scanned: Whether it is more than numbers, and scanned by itself.
    """

    name: str
    end: int
    scanned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Result of one format's scanner.

    Attributes:
        findings: In the order of the file.
        unchecked: Parts that were not looked into.
        globals: Qualified names that a pickle imports and the allowlist covers.
        external: Other files that loading it reads.
        exceptions: Allowed names without which something would have been refused.
    """

    findings: tuple[Finding, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    globals: frozenset[str] = frozenset()
    external: tuple[ExternalData, ...] = ()
    exceptions: frozenset[str] = frozenset()

    def __or__(self, other: Examination) -> Examination:
        return Examination(
            findings=self.findings + other.findings,
            unchecked=self.unchecked + other.unchecked,
            globals=self.globals | other.globals,
            external=self.external + other.external,
            exceptions=self.exceptions | other.exceptions,
        )


def _view(verdict: Verdict) -> NotebookView:
    outcome = "refused" if verdict.refused else "unchecked" if verdict.unchecked else "passed"
    found = [
        (each.severity.label, each.rule, each.message, each.where) for each in verdict.findings
    ]
    rows = [*found, *(("unchecked", each.what, each.why, "") for each in verdict.unchecked)]
    head = ("severity", "rule", "message", "where")
    return NotebookView(f"{verdict.path}: {outcome}", [("format", verdict.format)], head, rows)


@notebook_view(_view)
@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Conclusion of a scan about a file or folder.

    Attributes:
        path: What was scanned.
        format: Its format by content (`"folder"` for a folder).
        findings: What was found.
        unchecked: What was not looked into; it does not count as clean.

    Examples:
        >>> Verdict(path="a.bin", format="unknown", findings=(), unchecked=()).refused
        False
    """

    path: str
    format: str
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]

    @property
    def refused(self) -> bool:
        """Whether a finding is of high or critical severity."""
        return any(finding.severity >= REFUSES for finding in self.findings)

    def require(self) -> None:
        """Demand that no finding refuses the artifact.

        Raises:
            UnsafeContent: One does; the error names the first of the highest severity.
        """
        if self.refused:
            worst = max(self.findings, key=lambda finding: finding.severity)
            raise UnsafeContent(
                f"{self.path}: {worst.message} (at {worst.where or 'the whole file'})",
                rule=worst.rule,
                where=worst.where,
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as one of `verdicts` in `mlsecops.scan/1`."""
        return {
            "path": self.path,
            "format": self.format,
            "refused": self.refused,
            "findings": [finding.to_dict() for finding in self.findings],
            "unchecked": [{"what": item.what, "why": item.why} for item in self.unchecked],
        }


def join(path: str, verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict over a folder's files."""
    each = list(verdicts)
    return Verdict(
        path=path,
        format="folder",
        findings=tuple(finding for verdict in each for finding in verdict.findings),
        unchecked=tuple(item for verdict in each for item in verdict.unchecked),
    )


def not_checked(what: str, why: str) -> Examination:
    """Result for a file or entry that no scanner looks into."""
    return Examination(unchecked=(Unchecked(what=what, why=why),))


def unlisted(
    rule: str,
    problem: str,
    name: str,
    *,
    where: str,
    artifact: str,
    severity: Severity = Severity.CRITICAL,
) -> Finding:
    """Finding about a name that no allowlist has, with the option that allows it."""
    return Finding(
        rule=rule,
        severity=severity,
        message=(
            f"{problem}; do not load the file or, if that is audited, name it in "
            f"allow_globals=[{str(name)!r}] (--allow-global {name})"
        ),
        where=where,
        artifact=artifact,
    )


def refusal(error: ContentRefused, *, artifact: str) -> Finding:
    """Finding for an error that a check raised."""
    return Finding(
        rule=error.rule if isinstance(error, UnsafeContent) else _RULES.get(type(error), "refused"),
        severity=Severity.HIGH,
        message=str(error),
        where=error.where if isinstance(error, UnsafeContent) else "",
        artifact=artifact,
    )


_RULES: Final = {
    LimitExceeded: "limit-exceeded",
    ChangedDuringLoad: "changed-during-load",
    FormatRefused: "malformed",
}


def refused_reference(artifact: str, name: str, what: str) -> Finding:
    """Finding about a reference that leads outside of the model."""
    return Finding(
        rule="outside-reference",
        severity=Severity.HIGH,
        message=f"refers to {name!r}: {what}; expected files in the model's own folder",
        where=name,
        artifact=artifact,
    )
