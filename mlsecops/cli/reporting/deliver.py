"""Command `mlsecops deliver`: model, data sets and robustness report → six deliverables."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.inputs import add_datasets, read_datasets, read_report
from mlsecops.cli.models import require_path
from mlsecops.cli.operations.registry import add_pin, require_pin
from mlsecops.cli.options import option
from mlsecops.cli.project import SETTINGS, read_project
from mlsecops.cli.reporting.diagram import add_controls, read_controls
from mlsecops.cli.signing.verify import add_trust, trust_from
from mlsecops.cli.terminal import note, show
from mlsecops.cli.values import share
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.pipeline import SecurePipeline
from mlsecops.registry import Registry
from mlsecops.reports import FRAMEWORKS
from mlsecops.robustness import ROBUSTNESS_PREDICATE, Gate, RobustnessReport
from mlsecops.signing import TrustPolicy, Verified, verify

EXAMPLE = (
    "mlsecops deliver --model model/ --key pub.pem --dataset train=data/ "
    "--robustness robustness.json --min-accuracy 0.70 --out deliverables/"
)
_NO_REPORT = (
    "expected a robustness report, got none, neither with --robustness nor signed with the model; "
    "write one with 'mlsecops attack --format json'"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--model M", "model folder or file; default that of mlsecops.toml here",
           type=Path)  # fmt: skip
    option(parser, "--out DIR", "folder for the deliverables; default that of mlsecops.toml here",
           type=Path)  # fmt: skip
    option(parser, "--name NAME", "name of the pipeline; default the model's path")
    option(parser, "--model-name NAME",
           "name that the model must be signed under; default that of its folder, where the policy "
           "restricts by name")  # fmt: skip
    add_datasets(parser)
    option(parser, "--robustness F",
           "report of mlsecops attack --format json; default the one signed with the model",
           type=Path)  # fmt: skip
    option(parser, "--min-accuracy SHARE", "lowest accuracy of the gate, 0 to 1", type=share)
    option(parser, "--framework F", "map requirements of a framework to the evidence",
           choices=FRAMEWORKS)  # fmt: skip
    option(parser, "--registry DIR", "registry of the model", type=Path)
    add_pin(parser)
    add_controls(parser)
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Write the deliverables; 1 when a gate is given and does not pass, or cannot be judged."""
    gated = options.min_accuracy is not None
    measurable = _complete(options)
    require_path(options.model)
    policy = trust_from(options)
    report = _report(
        options.robustness, verify(options.model, policy=policy, name=options.model_name)
    )
    gate = None
    if options.min_accuracy is not None and (report is not None or gated or measurable):
        gate = Gate(min_accuracy=options.min_accuracy)
    pipeline = SecurePipeline(
        name=options.name or options.model.resolve().name,
        model=options.model,
        model_name=options.model_name,
        policy=policy,
        datasets=read_datasets(options.dataset),
        robustness=report,
        gate=gate,
        registry=_registry(options, policy),
        controls=read_controls(options.controls),
    )
    delivery = pipeline.deliver(options.out, framework=options.framework)
    for name in delivery.files:
        show(str(options.out / name))
    return int(not _passed(gate, report))


def _complete(options: argparse.Namespace) -> bool:
    """Take what was left out from the settings of the working folder, if it has any.

    Returns:
        Whether the settings name samples to attack with, so that their gate can be judged.
    """
    project = read_project(Path())
    if project is None or options.model is not None:
        if options.model is None or options.out is None:
            raise UsageError(
                f"--model, --out: expected both, or a {SETTINGS} here; 'mlsecops init' writes one"
            )
        return False
    options.model = Path(project.model)
    options.out = options.out or Path(project.out)
    options.name = options.name or project.name
    options.framework = options.framework or project.framework or None
    if options.min_accuracy is None:
        options.min_accuracy = project.min_accuracy
    if not (options.key or options.root or options.identity or options.policy):
        options.policy = Path(project.policy)
    if not options.dataset:
        options.dataset = [(name, Path(path)) for name, path in project.datasets.items()]
    if options.robustness is None and Path("robustness.json").is_file():
        options.robustness = Path("robustness.json")
    return bool(project.evaluation)


def _passed(gate: Gate | None, report: RobustnessReport | None) -> bool:
    """Whether the gate passes, or none was given; notes say what was not measured, and why not."""
    if report is None:
        note(f"robustness {'gate: not judged' if gate else 'not measured'}: {_NO_REPORT}")
        return gate is None
    if gate is None:
        return True
    judgement = gate.judge(report)
    note(f"robustness gate: {judgement.verdict}: {'; '.join(judgement.reasons)}".rstrip(": "))
    return judgement.verdict == "pass"


def _report(path: Path | None, verified: Verified) -> RobustnessReport | None:
    """The named robustness report, else the one that was signed with the model, if any."""
    signed = (each for each in verified.statements if each.predicate_type == ROBUSTNESS_PREDICATE)
    if path is not None:
        report = read_report(path)
    elif (value := next((each.predicate for each in signed), None)) is not None:
        report = RobustnessReport.from_dict(value)
    else:
        return None
    if report.model_digest is not None and report.model_digest != verified.digest:
        raise DigestMismatch(
            f"{path or 'the signed robustness report'}: expected a report of "
            f"{verified.digest.short}, got one of {report.model_digest.short}; attack this model"
        )
    return report


def _registry(options: argparse.Namespace, policy: TrustPolicy) -> Registry | None:
    location: Path | None = options.registry
    if location is None:
        if options.pinned or options.origin or options.witness:
            raise UsageError("--pinned, --origin, --witness: expected --registry with them")
        return None
    if not location.is_dir():
        raise UsageError(
            f"--registry {location}: expected the folder of a registry, found none; check the path"
        )
    require_pin(options.pinned, location)
    return Registry(
        location,
        policy=policy,
        pinned=options.pinned,
        origin=options.origin,
        witnesses=options.witness,
        quorum=options.quorum,
    )
