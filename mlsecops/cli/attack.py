"""``mlsecops attack``: measure a model's adversarial robustness and gate on it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlsecops.cli.inputs import read_json, read_samples, write_files
from mlsecops.cli.models import add_model_options, load_model, require_callable
from mlsecops.cli.scan import print_findings
from mlsecops.cli.screen import seed
from mlsecops.cli.terminal import progress, show, show_json
from mlsecops.errors import UsageError
from mlsecops.robustness import (
    FGSM,
    PGD,
    Attack,
    Figure,
    Gate,
    Judgement,
    RobustnessReport,
    evaluate_robustness,
    suite,
)

if TYPE_CHECKING:
    from mlsecops.loading import LoadedModel

EXAMPLE = (
    "example: mlsecops attack --model model/ --data test.npz --key release.pub.pem "
    "--arch nets:build --attack fgsm,pgd --eps 0.1 --min-accuracy 0.70"
)
_EFFORT: Final = {"quick": (10, 1), "standard": (40, 1), "nightly": (100, 5)}
"""PGD's steps and restarts in each profile."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("--model", type=Path, required=True, metavar="M", help="folder or file")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="D.npz", help="holds arrays x and y"
    )
    parser.add_argument(
        "--attack", metavar="NAMES", help="attacks to run, such as fgsm,pgd; default the profile's"
    )
    parser.add_argument(
        "--eps", type=float, required=True, help="radius of the ball, in units of the input"
    )
    parser.add_argument("--profile", choices=("quick", "standard", "nightly"), default="standard")
    parser.add_argument("--steps", type=int, metavar="N", help="PGD's steps; default the profile's")
    parser.add_argument(
        "--bounds", type=float, nargs=2, default=(0.0, 1.0), metavar=("LOW", "HIGH"),
        help="smallest and largest value of an input",
    )  # fmt: skip
    add_gate_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="also write robustness.json, robustness.html and, to be signed, attestation.json",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="makes the attacks repeatable")
    parser.add_argument("--format", choices=("text", "json", "sarif", "junit"), default="text")
    add_model_options(parser)


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
    loaded = load_model(options.model, options)
    with progress("attacking", unit="samples") as bar:
        report = evaluate_robustness(
            require_callable(loaded),
            x,
            y,
            attacks,
            seed=options.seed,
            bounds=tuple(options.bounds),
            model_digest=loaded.digest,
            progress=bar,
        )
    judgement = None if gate is None else gate.judge(report)
    if options.out is not None:
        _write(options, report, judgement)
    _print(options, loaded, report, judgement)
    return int(judgement is not None and judgement.verdict != "pass")


def chosen_attacks(options: argparse.Namespace) -> list[Attack]:
    """The attacks that were named, or the profile's, with the steps that were asked for.

    Raises:
        UsageError: There is no such attack, or a figure is out of range.
    """
    profile = suite(options.profile, eps=options.eps)
    if options.attack is None:
        return [_with_steps(attack, options.steps) for attack in profile]
    known = {attack.name: attack for attack in (*_named(options), *profile)}
    names = options.attack.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown attack {name!r}: expected one of {', '.join(known)}")
    return [_with_steps(known[name], options.steps) for name in dict.fromkeys(names)]


def _named(options: argparse.Namespace) -> list[Attack]:
    """Attacks that can be asked for in every profile."""
    steps, restarts = _EFFORT[options.profile]
    return [
        FGSM(options.eps),
        PGD(options.eps, steps=steps, restarts=restarts),
        PGD(options.eps, steps=steps, restarts=restarts, norm="l2"),
    ]


def _with_steps(attack: Attack, steps: int | None) -> Attack:
    if steps is None or not isinstance(attack, PGD):
        return attack
    return replace(attack, steps=steps, step=None)


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
    options: argparse.Namespace, report: RobustnessReport, judgement: Judgement | None
) -> None:
    from mlsecops.reports import robustness_page  # noqa: PLC0415 - only --out needs it

    verdict = None if judgement is None else judgement.verdict
    figures = report.to_dict(verdict=verdict)
    page = robustness_page(figures, floor=options.min_accuracy)
    files = {"robustness.json": f"{json.dumps(figures, indent=2)}\n", "robustness.html": page}
    if report.model_digest is not None:
        files["attestation.json"] = report.statement(verdict=verdict).payload.decode()
    write_files(options.out, files)


def _print(
    options: argparse.Namespace,
    loaded: LoadedModel,
    report: RobustnessReport,
    judgement: Judgement | None,
) -> None:
    verdict = None if judgement is None else judgement.verdict
    if options.format == "json":
        show_json(report.to_dict(verdict=verdict))
    elif options.format == "text":
        show(f"{options.model} {loaded.digest}")
        show(_text(report, judgement))
    else:
        from mlsecops.reports import judgement_findings  # noqa: PLC0415 - only these need it

        artifact = str(options.model)
        found = [] if judgement is None else judgement_findings(judgement, artifact=artifact)
        print_findings(found, options.format, checked=[artifact])


def _text(report: RobustnessReport, judgement: Judgement | None) -> str:
    lines = [f"{report.n} samples, seed {report.seed}, one-sided 95 % bounds"]
    figures = [report.clean, *report.attacks.values(), report.worst]
    lines += [f"  {figure.name:<10} {_accuracy(figure)} {_settings(figure)}" for figure in figures]
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
