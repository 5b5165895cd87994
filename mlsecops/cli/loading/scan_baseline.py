"""Baseline of a scan: findings that are known already, from an earlier scan's JSON or SARIF.

file of an earlier scan → ScanBaseline → verdicts whose known findings are information

A finding is known by its file, rule, place and message. A known finding passes, a new one is
judged as ever; what a baseline holds and a scan no longer finds is reported as gone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from mlsecops.cli.inputs import read_json
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.loading import Verdict

KNOWN: Final = "known: "
_NOT_CHECKED: Final = "not checked: "

Key = tuple[str, str, str, str]


class ScanBaseline:
    """Findings and unchecked parts of an earlier scan.

    Args:
        known: File, rule, place and message of each.
    """

    def __init__(self, known: frozenset[Key] = frozenset()) -> None:
        self._known = known
        self._seen: set[Key] = set()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the JSON or SARIF that `scan` printed.

        Raises:
            UsageError: The file cannot be read, or is neither.
        """
        value = read_json(path)
        try:
            if "runs" in value:
                return cls(frozenset(_of_sarif(value)))
            if str(value["schema"]).startswith("mlsecops.scan/"):
                return cls(frozenset(_of_json(value)))
        except (KeyError, TypeError, AttributeError, IndexError):
            pass
        raise UsageError(
            f"{path}: expected what 'mlsecops scan … --format json' (or sarif) printed; write it "
            "with: mlsecops scan PATH --format json > baseline.json"
        )

    @property
    def gone(self) -> int:
        """Number of entries that no verdict had, so far."""
        return len(self._known - self._seen)

    def judge(self, verdict: Verdict) -> Verdict:
        """A verdict in which known findings and unchecked parts are information."""
        if not self._known:
            return verdict
        findings = [self._judged(each) for each in verdict.findings]
        unchecked = []
        for item in verdict.unchecked:
            where = "" if item.what == verdict.path else item.what
            as_finding = Finding(
                rule="unchecked",
                severity=Severity.LOW,
                message=f"{_NOT_CHECKED}{item.why}",
                where=where,
                artifact=verdict.path,
            )
            judged = self._judged(as_finding)
            if judged is as_finding:
                unchecked.append(item)
            else:
                findings.append(judged)
        return dataclasses.replace(verdict, findings=tuple(findings), unchecked=tuple(unchecked))

    def _judged(self, finding: Finding) -> Finding:
        key = _key(finding.artifact, finding.rule, finding.where, finding.message)
        if key not in self._known:
            return finding
        self._seen.add(key)
        known = f"{KNOWN}{finding.message}"
        return dataclasses.replace(finding, severity=Severity.INFO, message=known)


def _key(path: str, rule: str, where: str, message: str) -> Key:
    """A finding's identity; paths are compared as they are from the working folder."""
    plain = message.removeprefix(KNOWN)
    return os.path.abspath(path), rule, where, plain  # noqa: PTH100 - no link is resolved


def _of_json(value: Mapping[str, Any]) -> Iterator[Key]:
    for verdict in value["verdicts"]:
        path = verdict["path"]
        for each in verdict["findings"]:
            yield _key(path, each["rule"], each["where"], each["message"])
        for each in verdict["unchecked"]:
            where = "" if each["what"] == path else each["what"]
            yield _key(path, "unchecked", where, f"{_NOT_CHECKED}{each['why']}")


def _of_sarif(value: Mapping[str, Any]) -> Iterator[Key]:
    for run in value["runs"]:
        for each in run["results"]:
            place = each["locations"][0]
            address = urlsplit(place["physicalLocation"]["artifactLocation"]["uri"])
            names = place.get("logicalLocations") or [{"fullyQualifiedName": ""}]
            message = each["message"]["text"].replace("\\[", "[").replace("\\]", "]")
            yield _key(
                unquote(address.path),
                each["ruleId"],
                names[0]["fullyQualifiedName"],
                message.replace("\\\\", "\\"),
            )
