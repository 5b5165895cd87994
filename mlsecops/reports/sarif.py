"""How findings reach code-scanning tools: a SARIF 2.1.0 log."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import shown

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_SCORES: Final = {
    Severity.INFO: "0.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
_MESSAGE: Final = 1000


def sarif_log(
    findings: Iterable[Finding], *, version: str = "0.1.0", tool: str = "mlsecops"
) -> dict[str, Any]:
    """One run with every finding; equal findings in any order give an equal log.

    Args:
        findings: What was found.
        version: Version of the tool.
        tool: Name of the tool.

    Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
    """
    ordered = sorted(
        findings, key=lambda each: (each.artifact, each.rule, each.where, each.message)
    )
    worst: dict[str, Severity] = {}
    for each in ordered:
        worst[each.rule] = max(each.severity, worst.get(each.rule, Severity.INFO))
    rules = sorted(worst)
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": tool,
                        "version": version,
                        "rules": [_rule(rule, worst[rule]) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, rules.index(each.rule)) for each in ordered],
            }
        ],
    }


def _rule(rule: str, severity: Severity) -> dict[str, Any]:
    return {
        "id": rule,
        "name": "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", rule)),
        "shortDescription": {"text": rule.replace("-", " ")},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {"security-severity": _SCORES[severity], "tags": ["security"]},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    identity = f"{finding.rule}\0{finding.artifact}\0{finding.where}"
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _address(finding.artifact)}}
    }
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": shown(finding.where, most=300)}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [location],
        "partialFingerprints": {
            "mlsecops/v1": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()
        },
        "properties": {"severity": finding.severity.label},
    }


def _message(finding: Finding) -> str:
    """Plain text; brackets are escaped, since viewers make links of them (SARIF 3.11.6)."""
    return re.sub(r"([\\\[\]])", r"\\\1", shown(finding.message, most=_MESSAGE)) or finding.rule


def _address(artifact: str) -> str:
    """A path as a URI reference, percent-encoded so that it is a path and nothing else."""
    path = quote(artifact.encode("utf-8", "replace"), safe="/._-~@+,=")
    return path if not path.startswith("//") else f"file://{path[1:]}"
