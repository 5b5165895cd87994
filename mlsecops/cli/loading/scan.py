"""Command `mlsecops scan`: files, folders and URLs → Verdicts → text, JSON, SARIF or JUnit."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from mlsecops.cli.advice import advice
from mlsecops.cli.loading.scan_baseline import ScanBaseline
from mlsecops.cli.loading.scan_text import NO_FILES, TextOutput, is_refused
from mlsecops.cli.options import add_format, option
from mlsecops.cli.terminal import note, print_findings, progress, show_json
from mlsecops.cli.values import place
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.loading import Verdict, scan_stream

EXAMPLE = "mlsecops scan model/ other.safetensors --strict --format json"
_WRONG_USE = 2  # exit status; a path that cannot be opened


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model files, folders or URLs (hf://ORG/NAME, s3://…)",
           type=place, nargs="+")  # fmt: skip
    add_format(parser, "sarif", "junit")
    option(parser, "--strict", "also refuse what could not be checked; default when CI is set",
           action=argparse.BooleanOptionalAction, default=None)  # fmt: skip
    option(parser, "--exclude P",
           "path below the folder, or pattern such as '*.tmp', to leave out; may be repeated",
           action="append", default=[])  # fmt: skip
    option(
        parser,
        "--baseline F",
        "JSON or SARIF of an earlier scan: its findings pass, new ones fail",
        type=Path,
    )
    option(parser, "--allow-global NAME",
           "audited name (module.Class) or code format (torchscript) for files and settings",
           action="append", default=[])  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Scan everything, print verdicts as they come, and say what was refused."""
    strict = bool(os.environ.get("CI")) if options.strict is None else options.strict
    baseline = ScanBaseline() if options.baseline is None else ScanBaseline.load(options.baseline)
    text = TextOutput(strict=strict) if options.format == "text" else None
    verdicts: list[Verdict] = []
    unopened: list[str] = []
    try:
        for verdict in _scanned(options, unopened):
            verdicts.append(baseline.judge(verdict))
            if text is not None:
                text.add(verdicts[-1])
    finally:  # an interrupted scan says what it has refused so far
        if text is not None and verdicts:
            text.end()
    if text is None:
        _print(verdicts, options.format, strict=strict)
    if baseline.gone:
        note(f"{options.baseline}: {baseline.gone} of its findings are gone; write it again")
    if any(is_refused(verdict, strict=strict) for verdict in verdicts):
        return 1
    if not unopened and all(verdict.format in NO_FILES for verdict in verdicts):
        nothing = (
            f"{', '.join(options.path)}: expected files to scan, found none; check the path and "
            "--exclude"
        )
        if strict:
            raise UsageError(nothing)
        note(nothing)
    return _WRONG_USE if unopened else 0


def _scanned(options: argparse.Namespace, unopened: list[str]) -> Iterator[Verdict]:
    """Verdicts on every path; one that cannot be opened is noted, and the others are scanned."""
    with progress("scanning", unit="files") as bar:
        for path in options.path:
            try:
                yield from scan_stream(
                    path,
                    allow_globals=options.allow_global,
                    exclude=options.exclude,
                    progress=bar,
                )
            except UsageError as error:
                unopened.append(path)
                note(f"UsageError: {error}{advice(error)}")


def _print(verdicts: list[Verdict], form: str, *, strict: bool) -> None:
    ordered = sorted(verdicts, key=lambda verdict: verdict.path)
    if form == "json":
        plain = [verdict.to_dict() for verdict in ordered]
        show_json({"schema": "mlsecops.scan/1", "verdicts": plain})
    else:
        findings = list(_findings(ordered, strict=strict))
        print_findings(findings, form, checked=[verdict.path for verdict in ordered])


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
