"""``mlsecops screen``: look for poisoned or anomalous samples in training data."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mlsecops.cli.inputs import read_samples
from mlsecops.cli.scan import print_findings
from mlsecops.cli.terminal import plural, show, show_json
from mlsecops.findings import Severity
from mlsecops.poisoning import PoisoningReport, screen_dataset

EXAMPLE = "example: mlsecops screen train.npz --format json"
SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("data", type=Path, metavar="DATA.npz", help="holds arrays x and y")
    parser.add_argument("--seed", type=seed, default=0, help="makes the folds repeatable")
    parser.add_argument("--format", choices=("text", "json", "sarif", "junit"), default="text")


def seed(text: str) -> int:
    """A seed of the random numbers, 0 to 2147483647."""
    if not text.isdecimal() or not int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected 0 to 2147483647, got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Screen and print the suspects, the strongest first."""
    x, y = read_samples(options.data)
    report = screen_dataset(x, y, seed=options.seed)
    if options.format == "text":
        show(_text(options.data, report))
    elif options.format == "json":
        show_json(report.to_dict())
    else:
        artifact = str(options.data)
        findings = [replace(finding, artifact=artifact) for finding in report.findings]
        print_findings(findings, options.format, checked=[artifact])
    return int(any(finding.severity >= Severity.HIGH for finding in report.findings))


def _text(path: Path, report: PoisoningReport) -> str:
    found = report.suspects
    lines = [f"{path}: {plural(len(found), 'suspect')} among {report.n} rows"]
    for suspect in found[:SHOWN]:
        evidence = ", ".join(f"{key} {value:.3g}" for key, value in suspect.evidence.items())
        where = f"row {suspect.index} (label {suspect.label})"
        lines.append(f"  {suspect.score:.3f} {suspect.kind:<21} {where}: {evidence}")
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN} more; --format json lists them all")
    lines += [f"{each.severity.label} {each.rule}: {each.message}" for each in report.findings]
    lines += [f"not looked for: {name} ({why})" for name, why in report.skipped.items()]
    lines.append("Screening points at rows to look at; it never proves that data is clean.")
    return "\n".join(lines)
