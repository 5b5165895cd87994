"""How findings are told to people: markdown, and the gate's judgement as findings.

SARIF and JUnit have modules of their own; all of them take the same findings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import shown

if TYPE_CHECKING:
    from mlsecops.robustness.gate import Judgement

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|~>-])")
_MESSAGE: Final = 1000


def markdown_report(findings: Iterable[Finding], *, title: str = "Findings") -> str:
    """A heading, a count by severity and a table, the most severe first."""
    ordered = sorted(
        findings, key=lambda each: (-each.severity, each.artifact, each.rule, each.where)
    )
    lines = [f"# {escape_markdown(title)}", ""]
    if not ordered:
        return "\n".join([*lines, "Nothing was found.", ""])
    counts = Counter(each.severity for each in ordered)
    told = ", ".join(f"{counts[level]} {level.label}" for level in sorted(counts, reverse=True))
    lines += [
        f"{told}.",
        "",
        "| Severity | Rule | Artifact | Where | What |",
        "|---|---|---|---|---|",
    ]
    for each in ordered:
        cells = (each.severity.label, each.rule, each.artifact, each.where or "-", each.message)
        lines.append(f"| {' | '.join(escape_markdown(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def escape_markdown(text: str) -> str:
    """Text that markdown shows as it is: no link, no picture, no HTML, no new cell."""
    plain = shown(text, most=_MESSAGE).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", plain).replace("://", "&#58;//").replace("@", "&#64;")


def judgement_findings(
    judgement: Judgement, *, artifact: str, readings: bool = False
) -> list[Finding]:
    """What stands in the way of a pass, as findings; none for a pass.

    Args:
        judgement: What the gate said.
        artifact: Path or name of the model.
        readings: Whether to list the floors that hold, too, as information.
    """
    rule = f"robustness-{judgement.verdict}"
    told = [(rule, Severity.HIGH, reason) for reason in judgement.reasons]
    if readings:
        held = (each for each in judgement.readings if each.verdict == "pass")
        told += [("robustness-pass", Severity.INFO, str(each)) for each in held]
    return [
        Finding(rule=name, severity=severity, message=message, where="", artifact=artifact)
        for name, severity, message in told
    ]
