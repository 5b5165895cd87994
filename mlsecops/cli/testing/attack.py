"""Command `mlsecops attack`: model, data and attacks → RobustnessReport → Gate."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from mlsecops._addresses import public_address
from mlsecops.adapters import adapt
from mlsecops.adapters.answers.output_form import Form
from mlsecops.adapters.endpoint import Scores
from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.cli.inputs import read_json, read_report, write_files
from mlsecops.cli.models import add_model_options, load_model, require_callable
from mlsecops.cli.options import Once, add_format, option
from mlsecops.cli.samples import read_samples
from mlsecops.cli.tables import SUFFIXES, columns, read_frame, table_of
from mlsecops.cli.terminal import print_findings, progress, show, show_json
from mlsecops.cli.values import count, pair, positive, radius, seed, share, web_address
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
    from mlsecops.provenance import Digest

EXAMPLE = (
    "mlsecops attack --model model/ --data test.npz --key release.pub.pem "
    "--arch nets:build --attack fgsm,pgd --eps 0.1 --min-accuracy 0.70"
)
_EFFORT: Final = {"quick": (10, 1), "standard": (40, 1), "nightly": (100, 5)}
"""Profile → steps and restarts of PGD; chosen, as in `mlsecops.robustness.suite`."""


_SERVED: Final = ("classes", "rate", "journal", "header_env")
"""Options that mean nothing without an endpoint."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    target = parser.add_mutually_exclusive_group(required=True)
    option(target, "--model M", "model folder or file", type=Path)
    option(target, "--endpoint URL",
           "served model, attacked through its answers (--attack square,hopskipjump)",
           type=web_address)  # fmt: skip
    option(parser, "--data D.npz", "file with arrays x and y; or a table, .csv or .parquet",
           type=Path, required=True)  # fmt: skip
    option(parser, "--attack NAMES",
           "attacks separated by commas, such as fgsm,pgd; default those of the profile",
           action=Once)  # fmt: skip
    option(parser, "--eps EPS", "radius of the ball, in units of the input, such as 0.1 or 8/255",
           type=radius, required=True)  # fmt: skip
    option(parser, "--profile", "attacks and their effort",
           choices=tuple(_EFFORT), default="standard")  # fmt: skip
    option(parser, "--steps N", "gradient steps; default those of the profile", type=count)
    option(parser, "--queries N", "queries per sample of square and hopskipjump", type=count)
    option(parser, "--bounds LOW HIGH",
           "smallest and largest input value; default 0 and 1, of a table none",
           type=float, nargs=2)  # fmt: skip
    add_table_options(parser)
    option(parser, "--output FORM",
           "what the model returns; default by its last operation or values",
           choices=get_args(Form))  # fmt: skip
    option(parser, "--reject CLASS", "class whose answer means that the model rejects the input")
    add_endpoint_options(parser)
    add_gate_options(parser)
    option(parser, "--out DIR",
           "folder for robustness.json, robustness.html, classes.svg and attestation.json",
           type=Path)  # fmt: skip
    option(parser, "--seed SEED", "seed of the random numbers", type=seed, default=0)
    add_format(parser, "sarif", "junit")
    add_model_options(parser)


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Declare the columns of a table, and what is right in a regression."""
    table = parser.add_argument_group("tables")
    option(table, "--label COLUMN", "column of the labels in a .csv or .parquet file")
    option(table, "--columns NAME=EPS,…",
           "columns that change, each with its radius in its own unit; a name alone is a category "
           "that may be exchanged; default all numbers, by --eps",
           action="append", default=[], type=columns)  # fmt: skip
    option(table, "--tolerance T", "for a regression: largest error that is right, in the unit "
           "of the labels", type=positive)  # fmt: skip


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Declare the queries to a served model."""
    served = parser.add_argument_group("endpoint")
    option(served, "--scores", "form of its answers",
           choices=get_args(Scores), default="probabilities")  # fmt: skip
    option(served, "--classes K", "number of classes, for --scores labels", type=count)
    option(served, "--rate R", "highest rate, in requests per second", type=positive)
    option(served, "--max-requests N",
           "total number of requests, over every run with the same journal",
           type=count, default=10_000)  # fmt: skip
    option(served, "--journal F", "file of answers; with the same file a run resumes", type=Path)
    option(served, "--header-env HEADER=VARIABLE",
           "header whose value is in an environment variable, such as authorization=TOKEN",
           action="append", default=[], type=pair("HEADER=VARIABLE", str))  # fmt: skip


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    """Declare the thresholds of the gate."""
    gate = parser.add_argument_group("gate")
    option(gate, "--min-accuracy SHARE",
           "lowest accuracy under the worst case of all attacks, 0 to 1, such as 0.70",
           type=share)  # fmt: skip
    option(gate, "--min-clean SHARE", "lowest accuracy without an attack, 0 to 1", type=share)
    option(gate, "--floor ATTACK=SHARE",
           "lowest accuracy under one attack; may be repeated", action="append", default=[],
           type=pair("ATTACK=SHARE, such as pgd=0.6", share))  # fmt: skip
    option(gate, "--earlier F",
           "robustness.json of the model that this one replaces, on the same data",
           type=Path)  # fmt: skip
    option(gate, "--max-drop SHARE", "largest drop of an accuracy below that of --earlier, 0 to 1",
           type=share, default=0.02)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Attack the model, apply the gate if one is given, and print the figures."""
    require_fitting(options)
    attacks = chosen_attacks(options)
    gate = chosen_gate(options)
    by_name = options.data.suffix in SUFFIXES
    x, y = read_frame(options.data, options.label) if by_name else read_samples(options.data)
    table = table_of(options.columns, by_number=not by_name)
    model, digest = chosen_model(options, task=by_name or options.tolerance is not None)
    by_gradient = not by_name and getattr(model, "differentiable", False)
    if by_gradient and x.dtype.kind == "f" and x.size and math.isnan(x.min()):
        raise UsageError(f"{options.data}: x: expected numbers, got NaN; leave those rows out")
    if options.attack is None and not by_gradient:
        blind = HopSkipJump if options.scores == "labels" else Square
        attacks = [_with_effort(blind(options.eps), options)]
    with progress("attacking", unit="samples") as bar:
        report = evaluate_robustness(
            model,
            x,
            y,
            attacks,
            seed=options.seed,
            bounds=tuple(options.bounds or (0, 1)),
            table=table,
            tolerance=options.tolerance,
            model_digest=digest,
            progress=bar,
        )
    judgement = None if gate is None else gate.judge(report)
    if options.out is not None:
        _write(options, report, judgement, y)
    _print(options, report, judgement)
    return int(judgement is not None and judgement.verdict != "pass")


def require_fitting(options: argparse.Namespace) -> None:
    """Require bounds with a range, a radius within it, and no option of an endpoint for a model.

    Raises:
        UsageError: One of them is not so.
    """
    free = (-math.inf, math.inf) if options.data.suffix in SUFFIXES else (0.0, 1.0)
    low, high = options.bounds or free
    if not low < high:
        raise UsageError(f"--bounds: expected LOW below HIGH, got {low:g} {high:g}")
    if options.eps > high - low:
        raise UsageError(
            f"--eps: expected at most {high - low:g}, the range of --bounds, got {options.eps:g}; "
            "give both in the unit of x, such as 8/255 for pixels from 0 to 1"
        )
    given = [name for name in _SERVED if getattr(options, name)] if options.model else []
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{names}: expected --endpoint with it, got --model; leave it out")


def chosen_model(options: argparse.Namespace, *, task: bool) -> tuple[Any, Digest | None]:
    """The model to attack, and its digest where it is known.

    A task is a table or a regression: there a model counts that is no classifier of arrays.
    """
    if options.endpoint is None:
        loaded = load_model(options.model, options)
        given = {"output": options.output, "reject": chosen_class(options.reject)}
        plain = task and given == {"output": None, "reject": None}
        blind = loaded.adapter is None or not loaded.adapter.differentiable
        answers = hasattr(loaded.model, "predict") or isinstance(loaded.model, Ensemble)
        if plain and blind and answers:
            return loaded.model, loaded.digest
        return adapt(require_callable(loaded), **given), loaded.digest
    if options.output is not None:
        raise UsageError("--output: expected a model in --model; of an endpoint say --scores")
    headers = {}
    for header, variable in options.header_env:
        if variable not in os.environ:
            raise UsageError(f"--header-env {header}={variable}: expected {variable} to be set")
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
    return adapt(endpoint, reject=chosen_class(options.reject)), None


def chosen_class(text: str | None) -> int | str | None:
    """A class by its number or its name."""
    return int(text) if text is not None and text.isdecimal() else text


def chosen_attacks(options: argparse.Namespace) -> list[Attack]:
    """The named attacks, or those of the profile, with the given steps and queries."""
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


def _with_effort(attack: Attack, options: argparse.Namespace) -> Attack:
    if options.steps is not None and isinstance(attack, PGD):
        return replace(attack, steps=options.steps, step=None)
    if options.steps is not None and isinstance(attack, APGD):
        return replace(attack, steps=options.steps)
    if options.queries is not None and isinstance(attack, Square | HopSkipJump):
        return replace(attack, queries=options.queries)
    return attack


def chosen_gate(options: argparse.Namespace) -> Gate | None:
    """The gate of the options, or None when no threshold is given."""
    floors = (options.min_accuracy, options.min_clean, options.earlier)
    if all(floor is None for floor in floors) and not options.floor:
        return None
    earlier = options.earlier and read_report(options.earlier)
    return Gate(
        min_accuracy=options.min_accuracy or 0.0,
        min_clean=options.min_clean,
        per_attack=dict(options.floor),
        earlier=earlier,
        max_drop=options.max_drop,
    )


def _write(
    options: argparse.Namespace, report: RobustnessReport, judgement: Judgement | None, y: Any
) -> None:
    from mlsecops.reports import class_picture, robustness_page  # noqa: PLC0415 - for --out

    verdict = None if judgement is None else judgement.verdict
    figures = report.to_dict(verdict=verdict)
    before = None if options.earlier is None else read_json(options.earlier)
    page = robustness_page(figures, before=before, floor=options.min_accuracy)
    files = {"robustness.json": f"{json.dumps(figures, indent=2)}\n", "robustness.html": page}
    if options.tolerance is None:
        files["classes.svg"] = class_picture(by_class(report, y)).svg
    if report.model_digest is not None:
        files["attestation.json"] = report.statement(verdict=verdict).payload.decode()
    write_files(options.out, files)


def _print(
    options: argparse.Namespace, report: RobustnessReport, judgement: Judgement | None
) -> None:
    verdict = None if judgement is None else judgement.verdict
    if options.format == "json":
        show_json(report.to_dict(verdict=verdict))
    elif options.format == "text":
        show(f"{_target(options)} {report.model_digest or 'of unknown digest'}")
        show(*_text(report, judgement))
    else:
        from mlsecops.reports import judgement_findings  # noqa: PLC0415 - needed for these only

        artifact, findings = _target(options), []
        if judgement is not None:
            passed = options.format == "junit"  # JUnit lists passed tests, SARIF only findings
            findings = judgement_findings(judgement, artifact=artifact, readings=passed)
        print_findings(findings, options.format, checked=[artifact])


def _target(options: argparse.Namespace) -> str:
    """Name of the attacked model; an address without its secrets."""
    return str(options.model) if options.endpoint is None else public_address(options.endpoint)


def _text(report: RobustnessReport, judgement: Judgement | None) -> list[str]:
    repeats = f" of {report.given}, repeats left out" if report.given > report.n else ""
    low, high = report.bounds
    lines = [
        f"{report.n} samples{repeats}, seed {report.seed}, one-sided 95 % bounds",
        f"inputs from {low:g} to {high:g}{(report.output and f', output {report.output}') or ''}",
    ]
    proven = [] if report.certified is None else [report.certified]
    figures = [report.clean, *report.attacks.values(), report.worst, *proven]
    rows = (f"  {figure.name:<10} {_accuracy(figure)} {_settings(figure)}" for figure in figures)
    lines += [row.rstrip() for row in rows]
    failed = [check for check in report.checks if check.outcome != "pass"]
    passed = len(report.checks) - len(failed)
    lines.append(f"self-checks: {passed} of {len(report.checks)} passed")
    lines += [f"  failed {check.name}: {check.reason}" for check in failed]
    if judgement is None:
        return [*lines, "gate: none, since no threshold was given"]
    lines.append(f"gate: {judgement.verdict}")
    return [*lines, *(f"  {reason}" for reason in judgement.reasons)]


def _accuracy(figure: Figure) -> str:
    low, high = figure.interval
    return f"{figure.accuracy:.3f} ({low:.3f} to {high:.3f})"


def _settings(figure: Figure) -> str:
    return ", ".join(f"{key}={value}" for key, value in figure.params.items())
