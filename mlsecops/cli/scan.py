"""``mlsecops scan``: look for dangerous content without loading anything."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mlsecops.cli.terminal import plural, show, show_json
from mlsecops.errors import ContentRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading import Verdict, scan
from mlsecops.provenance.tree import list_tree

EXAMPLE = "example: mlsecops scan model/ other.safetensors --strict --format json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("path", nargs="+", metavar="PATH", help="files or folders")
    parser.add_argument("--format", choices=("text", "json", "sarif", "junit"), default="text")
    parser.add_argument(
        "--strict", action=argparse.BooleanOptionalAction, default=None,
        help="refuse what could not be checked, too; the default when CI is set",
    )  # fmt: skip
    parser.add_argument(
        "--allow-global", action="append", default=[], metavar="NAME",
        help="audited name or code format that the files may use: module.Class, torchscript",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Scan every file and print what was found."""
    strict = bool(os.environ.get("CI")) if options.strict is None else options.strict
    verdicts = [
        verdict
        for path in options.path
        for verdict in scan_each(path, allow_globals=options.allow_global)
    ]
    _print(verdicts, options.format, strict=strict)
    return int(any(verdict.refused or (strict and verdict.unchecked) for verdict in verdicts))


def scan_each(path: str, *, allow_globals: Collection[str]) -> list[Verdict]:
    """A verdict on a file, or on every file of a folder, each under its own path.

    Raises:
        UsageError: The path cannot be opened.
    """
    if not Path(path).is_dir():
        return [scan(path, allow_globals=allow_globals)]
    try:
        names = list_tree(os.path.realpath(path), ignore=(".git",)).files
    except ContentRefused:
        names = {}
    each = [scan(Path(path) / name, allow_globals=allow_globals) for name in names]
    # A folder that cannot be listed, or that holds nothing, gets the verdict of the whole.
    return each or [scan(path, allow_globals=allow_globals)]


def _print(verdicts: list[Verdict], form: str, *, strict: bool) -> None:
    if form == "text":
        _print_text(verdicts, strict=strict)
    elif form == "json":
        plain = [verdict.to_dict() for verdict in verdicts]
        show_json({"schema": "mlsecops.scan/1", "verdicts": plain})
    else:
        findings = list(_findings(verdicts, strict=strict))
        print_findings(findings, form, checked=[verdict.path for verdict in verdicts])


def print_findings(findings: Iterable[Finding], form: str, *, checked: Iterable[str]) -> None:
    """Print findings as SARIF or JUnit."""
    from mlsecops.reports import (  # noqa: PLC0415 - text and JSON need no reports
        junit_xml,
        sarif_log,
    )

    if form == "sarif":
        show_json(sarif_log(findings))
    else:
        print(junit_xml(findings, checked=checked), end="")


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
