"""Command `mlsecops scan`: files and folders → Verdicts → text, JSON, SARIF or JUnit."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from mlsecops.cli.options import add_format, option
from mlsecops.cli.terminal import plural, print_findings, show, show_json
from mlsecops.findings import Finding, Severity
from mlsecops.loading import Verdict, scan_each

EXAMPLE = "mlsecops scan model/ other.safetensors --strict --format json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model files or folders", nargs="+")
    add_format(parser, "sarif", "junit")
    option(parser, "--strict", "also refuse what could not be checked; default when CI is set",
           action=argparse.BooleanOptionalAction, default=None)  # fmt: skip
    option(parser, "--allow-global NAME",
           "audited name (module.Class) or code format (torchscript) for files and settings",
           action="append", default=[])  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Scan every file and print the verdicts."""
    strict = bool(os.environ.get("CI")) if options.strict is None else options.strict
    verdicts = [
        verdict
        for path in options.path
        for verdict in scan_each(path, allow_globals=options.allow_global)
    ]
    _print(verdicts, options.format, strict=strict)
    return int(any(verdict.refused or (strict and verdict.unchecked) for verdict in verdicts))


def _print(verdicts: list[Verdict], form: str, *, strict: bool) -> None:
    if form == "text":
        _print_text(verdicts, strict=strict)
    elif form == "json":
        plain = [verdict.to_dict() for verdict in verdicts]
        show_json({"schema": "mlsecops.scan/1", "verdicts": plain})
    else:
        findings = list(_findings(verdicts, strict=strict))
        print_findings(findings, form, checked=[verdict.path for verdict in verdicts])


def _findings(verdicts: list[Verdict], *, strict: bool) -> Iterator[Finding]:
    for verdict in verdicts:
        yield from verdict.findings
        for item in verdict.unchecked:
            yield Finding(
                rule="unchecked",
                severity=Severity.HIGH if strict else Severity.LOW,
                message=f"not checked: {item.why}",
                where="" if item.what == verdict.path else item.what,
                artifact=verdict.path,
            )


def _print_text(verdicts: list[Verdict], *, strict: bool) -> None:
    for verdict in verdicts:
        show(f"{_word(verdict, strict=strict):<9} {verdict.path} ({verdict.format})")
        for finding in verdict.findings:
            place = f" at {finding.where}" if finding.where else ""
            show(f"    {finding.severity.label} {finding.rule}{place}: {finding.message}")
        for item in verdict.unchecked:
            show(f"    not checked {item.what}: {item.why}")
    refused = sum(verdict.refused for verdict in verdicts)
    unchecked = sum(bool(verdict.unchecked) for verdict in verdicts)
    total = plural(len(verdicts), "file")
    show(f"{total} scanned: {refused} refused, {unchecked} with something unchecked")


def _word(verdict: Verdict, *, strict: bool) -> str:
    if verdict.refused or (strict and verdict.unchecked):
        return "refused"
    return "unchecked" if verdict.unchecked else "passed"
