"""JUnit XML report of findings, for continuous integration.

Findings → one test suite for each artifact, one test case for each finding → XML

Source: Apache Ant, JUnitReport (`testsuites`, `testsuite`, `testcase`, `failure`, `system-out`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mlsecops._choices import checked
from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import MESSAGE, PLACE, shown
from mlsecops.reports.rendering.markup import Markup, tag


@checked
def junit_xml(
    findings: Iterable[Finding],
    *,
    checked: Iterable[str] = (),
    fails_at: Severity = Severity.HIGH,
    name: str = "mlsecops",
) -> str:
    """The text of a JUnit report.

    Args:
        findings: Findings of any artifacts.
        checked: All artifacts that were checked; one without findings is a passed test.
        fails_at: Lowest severity of a failure; a finding below it is output of a passed test.
        name: Name of the report.

    Examples:
        >>> 'name="nothing found"' in junit_xml([], checked=["model.onnx"])
        True
    """
    listed = sorted(findings, key=lambda each: (each.artifact, each.rule, each.where, each.message))
    artifacts = sorted({*checked, *(each.artifact for each in listed)})
    suites = [
        _suite(artifact, [each for each in listed if each.artifact == artifact], fails_at)
        for artifact in artifacts
    ]
    failures = sum(each.severity >= fails_at for each in listed)
    tests = sum(max(1, sum(each.artifact == one for each in listed)) for one in artifacts)
    document = tag("testsuites", suites, name=name, tests=tests, failures=failures, errors=0)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _suite(artifact: str, findings: list[Finding], fails_at: Severity) -> Markup:
    cases = [_case(each, fails_at) for each in findings]
    if not cases:
        cases = [tag("testcase", classname=shown(artifact, most=PLACE), name="nothing found")]
    return tag(
        "testsuite",
        cases,
        name=shown(artifact, most=PLACE),
        tests=len(cases),
        failures=sum(each.severity >= fails_at for each in findings),
        errors=0,
        skipped=0,
    )


def _case(finding: Finding, fails_at: Severity) -> Markup:
    message = shown(finding.message, most=MESSAGE)
    place = f" at {shown(finding.where, most=PLACE)}" if finding.where else ""
    text = f"{finding.severity.label}: {message}{place}"
    if finding.severity >= fails_at:
        inside = tag("failure", text, message=message, type=finding.rule)
    else:
        inside = tag("system-out", text)
    title = f"{finding.rule}{place}"
    return tag("testcase", inside, classname=shown(finding.artifact, most=PLACE), name=title)
