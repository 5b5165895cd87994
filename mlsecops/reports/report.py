"""Markdown report of findings, and findings of a robustness gate.

Findings → heading, numbers by severity, table → Markdown; Judgement → Findings
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mlsecops._choices import checked
from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import MESSAGE, shown

if TYPE_CHECKING:
    from mlsecops.robustness.gate import Judgement

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")


@checked
def markdown_report(findings: Iterable[Finding], *, title: str = "Findings") -> str:
    r"""A heading, the number of findings by severity, and a table, most severe first.

    Examples:
        >>> markdown_report([])
        '# Findings\n\nNothing was found.\n'
    """
    ordered = sorted(
        findings, key=lambda each: (-each.severity, each.artifact, each.rule, each.where)
    )
    lines = [f"# {escape_markdown(title)}", ""]
    if not ordered:
        return "\n".join([*lines, "Nothing was found.", ""])
    counts = Counter(each.severity for each in ordered)
    numbers = [f"{counts[level]} {level.label}" for level in sorted(counts, reverse=True)]
    lines += [
        f"{', '.join(numbers)}.",
        "",
        "| Severity | Rule | Artifact | Where | What |",
        "|---|---|---|---|---|",
    ]
    for each in ordered:
        cells = (each.severity.label, each.rule, each.artifact, each.where or "-", each.message)
        lines.append(f"| {' | '.join(escape_markdown(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def escape_markdown(text: str) -> str:
    """Text without Markdown or HTML markup: no link, image, element or table cell."""
    plain = shown(text, most=MESSAGE).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", plain).replace("://", "&#58;//").replace("@", "&#64;")


@checked
def judgement_findings(
    judgement: Judgement, *, artifact: str, readings: bool = False
) -> list[Finding]:
    """The reasons against a pass, as findings; none for a pass.

    Args:
        judgement: Judgement of the gate.
        artifact: Path or name of the model.
        readings: Whether to list the thresholds that are met, as information.
    """
    rule = f"robustness-{judgement.verdict}"
    rows = [(rule, Severity.HIGH, reason) for reason in judgement.reasons]
    if readings:
        met = (each for each in judgement.readings if each.verdict == "pass")
        rows += [("robustness-pass", Severity.INFO, str(each)) for each in met]
    return [
        Finding(rule=name, severity=severity, message=message, where="", artifact=artifact)
        for name, severity, message in rows
    ]
