"""SARIF 2.1.0 log of findings, for code-scanning tools.

Findings → rules and results of one run → plain dictionary for JSON

Source: OASIS, Static Analysis Results Interchange Format (SARIF) 2.1.0, sections 3.13 (log),
3.14 (run), 3.27 (result) and 3.49 (rule).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from mlsecops._choices import checked
from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import MESSAGE, PLACE, shown
from mlsecops.reports.rules import rule_text

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {
    Severity.INFO: ("note", "0.0"),
    Severity.LOW: ("note", "3.0"),
    Severity.MEDIUM: ("warning", "5.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.CRITICAL: ("error", "9.5"),
}
"""Severity → SARIF level (section 3.27.10), and a score within its CVSS v3 range for GitHub."""


@checked
def sarif_log(
    findings: Iterable[Finding], *, version: str = "0.1.0", tool: str = "mlsecops"
) -> dict[str, Any]:
    """One run with all findings; the log does not depend on their order.

    Args:
        findings: Findings of any artifacts.
        version: Version of the tool.
        tool: Name of the tool.

    Examples:
        >>> sarif_log([])["version"]
        '2.1.0'
    """
    ordered = sorted(
        findings, key=lambda each: (each.artifact, each.rule, each.where, each.message)
    )
    worst: dict[str, Severity] = {}
    for each in ordered:
        worst[each.rule] = max(each.severity, worst.get(each.rule, Severity.INFO))
    rules = sorted(worst)
    described = [_rule(rule, worst[rule]) for rule in rules]
    run = {
        "tool": {"driver": {"name": tool, "version": version, "rules": described}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, rules.index(each.rule)) for each in ordered],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: str, severity: Severity) -> dict[str, Any]:
    level, score = _LEVELS[severity]
    text = rule_text(rule)
    return {
        "id": rule,
        "name": "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", rule)),
        "shortDescription": {"text": text.about},
        "fullDescription": {"text": f"{text.about} {text.advice}"},
        "help": {"text": text.advice, "markdown": f"**What to do:** {text.advice}"},
        "defaultConfiguration": {"level": level},
        "properties": {"security-severity": score, "tags": ["security"]},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    identity = f"{finding.rule}\0{finding.artifact}\0{finding.where}"
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _address(finding.artifact)}}
    }
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": shown(finding.where, most=PLACE)}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity][0],
        "message": {"text": _message(finding)},
        "locations": [location],
        "partialFingerprints": {
            "mlsecops/v1": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()
        },
        "properties": {"severity": finding.severity.label},
    }


def _message(finding: Finding) -> str:
    """Plain text with escaped brackets, which would be links (SARIF 3.11.6)."""
    return re.sub(r"([\\\[\]])", r"\\\1", shown(finding.message, most=MESSAGE)) or finding.rule


def _address(artifact: str) -> str:
    """A path as a percent-encoded URI reference (SARIF 3.10.1).

    Below the working folder it is relative, as code scanning matches it with a repository's files;
    elsewhere it is a `file:` URI.
    """
    path = artifact
    if path.startswith(("/", "../", "./")):
        path = os.path.normpath(os.path.join(_working_folder(), path))  # noqa: PTH118 - as written
        path = path.removeprefix(f"{_working_folder().rstrip('/')}/")
    encoded = quote(path.encode("utf-8", "replace"), safe="/._-~@+,=")
    return f"file://{encoded}" if encoded.startswith("/") else encoded


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a path object is no gain
    except OSError:  # it was removed
        return "/"
