"""Command `mlsecops screen`: training data → PoisoningReport → suspects and exit status."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mlsecops.cli.options import add_format, option
from mlsecops.cli.samples import open_samples
from mlsecops.cli.signing.keygen import add_password, ask_password, password_from
from mlsecops.cli.signing.verify import add_trust, trust_from
from mlsecops.cli.terminal import note, plural, print_findings, show, show_json
from mlsecops.cli.values import seed
from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.poisoning import PoisoningReport, Trigger, screen_dataset, trigger_png
from mlsecops.poisoning.image_layout import image_axes
from mlsecops.provenance import hash_path
from mlsecops.signing import Signer, bundle_path, sign, verify

EXAMPLE = "mlsecops screen train.npz --format json"
SHOWN = 20  # suspects; chosen: a list that fits one screen


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "data DATA.npz", "file with x and y", type=Path)
    option(parser, "--baseline TRUSTED.npz",
           "data set whose signed baseline the data is compared with", type=Path)  # fmt: skip
    add_trust(parser)
    option(parser, "--sign KEY", "private key; signs data that passes with a baseline", type=Path)
    add_password(parser)
    option(parser, "--pictures DIR", "folder for trigger images", type=Path)
    option(parser, "--seed SEED", "seed of the folds", type=seed, default=0)
    add_format(parser, "sarif", "junit")


def run(options: argparse.Namespace) -> int:
    """Screen the data and print the suspects, highest score first."""
    trusted = None
    if options.baseline is not None:
        trusted = verify(options.baseline, policy=trust_from(options))
    with open_samples(options.data) as (x, y):
        report = screen_dataset(x, y, baseline=trusted, seed=options.seed)
    if options.pictures is not None:
        _draw(options.pictures, report)
    if options.format == "text":
        show(*_text(options.data, report))
    elif options.format == "json":
        show_json(report.to_dict())
    else:
        artifact = str(options.data)
        findings = [replace(finding, artifact=artifact) for finding in report.findings]
        print_findings(findings, options.format, checked=[artifact])
    refused = any(finding.severity >= Severity.HIGH for finding in report.findings)
    if options.sign is not None and refused:
        note(f"{options.data} was not signed: a finding is of high severity")
    elif options.sign is not None:
        _sign(options, report)
    return int(refused)


def _sign(options: argparse.Namespace, report: PoisoningReport) -> None:
    variable = options.password_env
    ask = partial(ask_password, options.sign)
    signer = Signer.from_pem(options.sign, ask if variable is None else password_from(variable))
    if report.baseline is not None:
        claim = report.baseline.statement({options.data.name: hash_path(options.data).root})
        sign(options.data, signer, statements=[claim])
        note(f"signed {options.data} with its baseline: {bundle_path(options.data)}")


def _draw(folder: Path, report: PoisoningReport) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for trigger in report.triggers:
            if image_axes(trigger.pattern.shape) is not None:
                (folder / f"trigger-{trigger.label}.png").write_bytes(trigger_png(trigger))
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from error


def _pattern(trigger: Trigger) -> str:
    """Where a trigger tells: columns of a table, or what draws an image."""
    rows = f"trigger of label {trigger.label} in {plural(trigger.rows, 'row')}"
    if image_axes(trigger.pattern.shape) is not None:
        return f"{rows}: {plural(int(trigger.mask.sum()), 'pixel')}; --pictures DIR draws them"
    columns = np.flatnonzero(trigger.mask).tolist()
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return f"{rows}: columns {', '.join(map(str, columns[:SHOWN]))}{more} of x, from 0"


def _text(path: Path, report: PoisoningReport) -> list[str]:
    found = report.suspects
    lines = [f"{path}: {plural(len(found), 'suspect')} among {report.n} rows"]
    for suspect in found[:SHOWN]:
        evidence = ", ".join(f"{key} {value:.3g}" for key, value in suspect.evidence.items())
        where = f"row {suspect.index} (label {suspect.label})"
        lines.append(f"  {suspect.score:.3f} {suspect.kind:<21} {where}: {evidence}")
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN} more; --format json lists them all")
    lines += [f"{each.severity.label} {each.rule}: {each.message}" for each in report.findings]
    lines += [_pattern(trigger) for trigger in report.triggers]
    lines += [f"not checked: {name} ({why})" for name, why in report.skipped.items()]
    lines.append("Screening suggests rows to inspect; it never proves that data is clean.")
    return lines
