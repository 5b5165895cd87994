"""`mlsecops attack`: measure a model's adversarial robustness and gate on it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from mlsecops._addresses import public_address
from mlsecops.adapters.endpoint import Scores
from mlsecops.cli.inputs import read_json, write_files
from mlsecops.cli.models import add_model_options, load_model, require_callable
from mlsecops.cli.options import Once, add_format, seed
from mlsecops.cli.samples import read_samples
from mlsecops.cli.terminal import print_findings, progress, show, show_json
from mlsecops.errors import UsageError
from mlsecops.robustness import (
    APGD,
    FGSM,
    PGD,
    Attack,
    Endpoint,
    Figure,
    Gate,
    HopSkipJump,
    Judgement,
    Noise,
    RobustnessReport,
    Square,
    by_class,
    evaluate_robustness,
    suite,
)

if TYPE_CHECKING:
    from mlsecops.adapters import Adapter
    from mlsecops.provenance import Digest

EXAMPLE = (
    "example: mlsecops attack --model model/ --data test.npz --key release.pub.pem "
    "--arch nets:build --attack fgsm,pgd --eps 0.1 --min-accuracy 0.70"
)
_EFFORT: Final = {"quick": (10, 1), "standard": (40, 1), "nightly": (100, 5)}
"""PGD's steps and restarts in each profile."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--model", type=Path, metavar="M", help="folder or file")
    where.add_argument(
        "--endpoint", metavar="URL",
        help="served model, attacked by its answers (--attack square,hopskipjump)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, required=True, metavar="D.npz", help="holds arrays x and y"
    )
    parser.add_argument(
        "--attack", action=Once, metavar="NAMES",
        help="attacks to run, such as fgsm,pgd; default the profile's",
    )  # fmt: skip
    parser.add_argument(
        "--eps", type=float, required=True, help="radius of the ball, in units of the input"
    )
    parser.add_argument(
        "--profile", choices=("quick", "standard", "nightly"), default="standard",
        help="which attacks, and how much effort each makes; default standard",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N", help="gradient steps; default: profile's")
    parser.add_argument(
        "--queries", type=int, metavar="N", help="questions per sample of square and hopskipjump"
    )
    parser.add_argument(
        "--bounds", type=float, nargs=2, default=(0.0, 1.0), metavar=("LOW", "HIGH"),
        help="smallest and largest value of an input",
    )  # fmt: skip
    add_endpoint_options(parser)
    add_gate_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="also write robustness.json, .html, classes.svg and, to be signed, attestation.json",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="makes the attacks repeatable")
    add_format(parser, "sarif", "junit")
    add_model_options(parser)


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Declare how a served model is asked."""
    served = parser.add_argument_group("endpoint")
    served.add_argument(
        "--scores", choices=get_args(Scores), default="probabilities", help="what it answers"
    )
    served.add_argument("--classes", type=int, metavar="K", help="number of classes, for labels")
    served.add_argument("--rate", type=float, metavar="R", help="most requests a second")
    served.add_argument(
        "--max-requests", type=int, default=10_000, metavar="N",
        help="requests in all, over every run with the same journal; default 10000",
    )  # fmt: skip
    served.add_argument(
        "--journal", type=Path, metavar="F", help="keeps paid answers; named again, it resumes"
    )
    served.add_argument(
        "--header-env", action="append", default=[], type=_header, metavar="HEADER=VARIABLE",
        help="header whose value is in an environment variable, such as authorization=TOKEN",
    )  # fmt: skip


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    """Declare what the figures are judged by."""
    gate = parser.add_argument_group("gate")
    gate.add_argument(
        "--min-accuracy", type=float, metavar="SHARE",
        help="floor under the worst case of all attacks, such as 0.70",
    )  # fmt: skip
    gate.add_argument("--min-clean", type=float, metavar="SHARE", help="floor without an attack")
    gate.add_argument(
        "--floor", type=_floor, action="append", default=[], metavar="ATTACK=SHARE",
        help="floor under one attack; may be repeated",
    )  # fmt: skip
    gate.add_argument(
        "--earlier", type=Path, metavar="F",
        help="robustness.json of the model that this one replaces, on the same data",
    )  # fmt: skip
    gate.add_argument(
        "--max-drop", type=float, default=0.02, metavar="SHARE",
        help="how far a figure may fall below --earlier's; default 0.02",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Attack the model, judge it when a floor is given, and print the figures."""
    attacks = chosen_attacks(options)
    gate = chosen_gate(options)
    x, y = read_samples(options.data)
    model, digest = chosen_model(options)
    if options.attack is None and not model.differentiable:
        attacks = [_with_effort(_blind(options), options)]
    with progress("attacking", unit="samples") as bar:
        report = evaluate_robustness(
            model,
            x,
            y,
            attacks,
            seed=options.seed,
            bounds=tuple(options.bounds),
            model_digest=digest,
            progress=bar,
        )
    judgement = None if gate is None else gate.judge(report)
    if options.out is not None:
        _write(options, report, judgement, y)
    _print(options, report, judgement)
    return int(judgement is not None and judgement.verdict != "pass")


def chosen_model(options: argparse.Namespace) -> tuple[Adapter, Digest | None]:
    """The model to attack, and its digest where that can be known.

    Raises:
        UsageError: The endpoint cannot be asked, or the file holds no model.
        MLSecOpsError: As `SecureLoader.load`.
    """
    if options.endpoint is None:
        loaded = load_model(options.model, options)
        return require_callable(loaded), loaded.digest
    headers = {}
    for header, variable in options.header_env:
        if variable not in os.environ:
            raise UsageError(f"--header-env {header}={variable}: {variable} is not set")
        headers[header] = os.environ[variable]
    endpoint = Endpoint(
        options.endpoint,
        scores=options.scores,
        classes=options.classes,
        rate=options.rate,
        max_requests=options.max_requests,
        journal=options.journal,
        headers=headers,
    )
    return endpoint, None


def _header(text: str) -> tuple[str, str]:
    header, equals, variable = text.partition("=")
    if not (header and equals and variable):
        raise argparse.ArgumentTypeError(f"expected HEADER=VARIABLE, got {text!r}")
    return header, variable


def chosen_attacks(options: argparse.Namespace) -> list[Attack]:
    """The attacks that were named, or the profile's, with the steps that were asked for.

    Raises:
        UsageError: There is no such attack, or a figure is out of range.
    """
    profile = suite(options.profile, eps=options.eps)
    if options.attack is None:
        return [_with_effort(attack, options) for attack in profile]
    known = {attack.name: attack for attack in (*_named(options), *profile)}
    names = options.attack.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown attack {name!r}: expected one of {', '.join(known)}")
    return [_with_effort(known[name], options) for name in dict.fromkeys(names)]


def _named(options: argparse.Namespace) -> list[Attack]:
    """Attacks that can be asked for in every profile."""
    steps, restarts = _EFFORT[options.profile]
    return [
        FGSM(options.eps),
        PGD(options.eps, steps=steps, restarts=restarts),
        PGD(options.eps, steps=steps, restarts=restarts, norm="l2"),
        APGD(options.eps),
        APGD(options.eps, loss="targeted-dlr"),
        Square(options.eps),
        HopSkipJump(options.eps),
        Noise(options.eps),
    ]


def _blind(options: argparse.Namespace) -> Attack:
    """What a model without gradients is attacked by when nothing was named."""
    return (HopSkipJump if options.scores == "labels" else Square)(options.eps)


def _with_effort(attack: Attack, options: argparse.Namespace) -> Attack:
    if options.steps is not None and isinstance(attack, PGD):
        return replace(attack, steps=options.steps, step=None)
    if options.steps is not None and isinstance(attack, APGD):
        return replace(attack, steps=options.steps)
    if options.queries is not None and isinstance(attack, Square | HopSkipJump):
        return replace(attack, queries=options.queries)
    return attack


def chosen_gate(options: argparse.Namespace) -> Gate | None:
    """The gate that the options describe; None when no floor was given.

    Raises:
        UsageError: A floor is no share, or the earlier report cannot be read.
    """
    floors = (options.min_accuracy, options.min_clean, options.earlier)
    if all(floor is None for floor in floors) and not options.floor:
        return None
    earlier = options.earlier and RobustnessReport.from_dict(read_json(options.earlier))
    return Gate(
        min_accuracy=options.min_accuracy or 0.0,
        min_clean=options.min_clean,
        per_attack=dict(options.floor),
        earlier=earlier,
        max_drop=options.max_drop,
    )


def _floor(text: str) -> tuple[str, float]:
    name, equals, share = text.partition("=")
    try:
        if name and equals:
            return name, float(share)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected ATTACK=SHARE, such as pgd=0.6, got {text!r}")


def _write(
    options: argparse.Namespace, report: RobustnessReport, judgement: Judgement | None, y: Any
) -> None:
    from mlsecops.reports import class_picture, robustness_page  # noqa: PLC0415 - only --out needs them

    verdict = None if judgement is None else judgement.verdict
    figures = report.to_dict(verdict=verdict)
    before = None if options.earlier is None else read_json(options.earlier)
    page = robustness_page(figures, before=before, floor=options.min_accuracy)
    files = {"robustness.json": f"{json.dumps(figures, indent=2)}\n", "robustness.html": page}
    files["classes.svg"] = class_picture(by_class(report, y)).svg
    if report.model_digest is not None:
        files["attestation.json"] = report.statement(verdict=verdict).payload.decode()
    write_files(options.out, files)


def _print(
    options: argparse.Namespace,
    report: RobustnessReport,
    judgement: Judgement | None,
) -> None:
    verdict = None if judgement is None else judgement.verdict
    if options.format == "json":
        show_json(report.to_dict(verdict=verdict))
    elif options.format == "text":
        show(f"{_target(options)} {report.model_digest or 'of unknown digest'}")
        show(_text(report, judgement))
    else:
        from mlsecops.reports import judgement_findings  # noqa: PLC0415 - only these need it

        artifact = _target(options)
        held = options.format == "junit"  # a floor that holds is a passed test, and no code finding
        found = (
            []
            if judgement is None
            else judgement_findings(judgement, artifact=artifact, readings=held)
        )
        print_findings(found, options.format, checked=[artifact])


def _target(options: argparse.Namespace) -> str:
    """What was attacked; an address without what may be secret in it."""
    return str(options.model) if options.endpoint is None else public_address(options.endpoint)


def _text(report: RobustnessReport, judgement: Judgement | None) -> str:
    lines = [f"{report.n} samples, seed {report.seed}, one-sided 95 % bounds"]
    figures = [report.clean, *report.attacks.values(), report.worst]
    rows = (f"  {figure.name:<10} {_accuracy(figure)} {_settings(figure)}" for figure in figures)
    lines += [row.rstrip() for row in rows]
    failed = [check for check in report.checks if check.outcome != "pass"]
    passed = len(report.checks) - len(failed)
    lines.append(f"self-checks: {passed} of {len(report.checks)} passed")
    lines += [f"  failed {check.name}: {check.reason}" for check in failed]
    if judgement is None:
        return "\n".join([*lines, "not judged: no floor was given"])
    lines.append(f"gate: {judgement.verdict}")
    return "\n".join([*lines, *(f"  {reason}" for reason in judgement.reasons)])


def _accuracy(figure: Figure) -> str:
    low, high = figure.interval
    return f"{figure.accuracy:.3f} ({low:.3f} to {high:.3f})"


def _settings(figure: Figure) -> str:
    return ", ".join(f"{key}={value}" for key, value in figure.params.items())
