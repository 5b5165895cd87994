"""``mlsecops attack``: measure a model's adversarial robustness and gate on it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlsecops.cli.inputs import read_samples
from mlsecops.cli.models import add_model_options, load_model, require_callable
from mlsecops.cli.scan import print_findings
from mlsecops.cli.screen import seed
from mlsecops.cli.terminal import progress, show, show_json
from mlsecops.errors import UsageError
from mlsecops.robustness import (
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


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("--model", type=Path, required=True, metavar="M", help="folder or file")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="D.npz", help="holds arrays x and y"
    )
    parser.add_argument(
        "--attack", metavar="NAMES", help="attacks of the profile to run, such as fgsm,pgd"
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
    parser.add_argument(
        "--min-accuracy", type=float, metavar="SHARE", help="floor of the gate, such as 0.70"
    )
    parser.add_argument("--seed", type=seed, default=0, help="makes the attacks repeatable")
    parser.add_argument("--format", choices=("text", "json", "sarif", "junit"), default="text")
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Attack the model, judge it when a floor is given, and print the figures."""
    attacks = chosen_attacks(options)
    gate = None if options.min_accuracy is None else Gate(min_accuracy=options.min_accuracy)
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
    _print(options, loaded, report, judgement)
    return int(judgement is not None and judgement.verdict != "pass")


def chosen_attacks(options: argparse.Namespace) -> list[Attack]:
    """The profile's attacks, those that were named, with the steps that were asked for.

    Raises:
        UsageError: A name is not one of the profile's, or a figure is out of range.
    """
    known = {attack.name: attack for attack in suite(options.profile, eps=options.eps)}
    names = list(known) if options.attack is None else options.attack.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown attack {name!r}: expected one of {', '.join(known)}")
    return [_with_steps(known[name], options.steps) for name in dict.fromkeys(names)]


def _with_steps(attack: Attack, steps: int | None) -> Attack:
    if steps is None or not isinstance(attack, PGD):
        return attack
    return replace(attack, steps=steps, step=None)


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
        return "\n".join([*lines, "not judged: no --min-accuracy was given"])
    lines.append(f"gate: {judgement.verdict}")
    return "\n".join([*lines, *(f"  {reason}" for reason in judgement.reasons)])


def _accuracy(figure: Figure) -> str:
    low, high = figure.interval
    return f"{figure.accuracy:.3f} ({low:.3f} to {high:.3f})"


def _settings(figure: Figure) -> str:
    return ", ".join(f"{key}={value}" for key, value in figure.params.items())
