"""Command `mlsecops bom`: model → CycloneDX bill → lint or verification → exit status."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsecops._json import parse_object
from mlsecops.cli.inputs import (
    add_datasets,
    kind_of,
    read_datasets,
    read_json,
    read_text,
    write_file,
)
from mlsecops.cli.models import require_path
from mlsecops.cli.options import add_action, add_format, option
from mlsecops.cli.refusals import refusals
from mlsecops.cli.signing.verify import add_bundle, add_name, add_trust, trust_from
from mlsecops.cli.terminal import note, plural, print_findings, show, show_json
from mlsecops.errors import FormatRefused, UsageError, VerificationError
from mlsecops.findings import Finding, Severity
from mlsecops.provenance import Manifest, Statement, hash_path
from mlsecops.reports import (
    BomReport,
    bom_text,
    build_bom,
    diff_boms,
    spdx_document,
    verify_bom,
)
from mlsecops.reports.bom.spdx import SPEC_VERSION
from mlsecops.robustness import ROBUSTNESS_PREDICATE
from mlsecops.signing import Bundle, Verified, bundle_path, ignore_for, verify
from mlsecops.signing.certificates import identity
from mlsecops.signing.oms import read_payload

_BUILD = "mlsecops bom build model/ --dataset train=data/ --out bom.cdx.json"
_LINT = "mlsecops bom lint bom.cdx.json"
_DIFF = "mlsecops bom diff old.cdx.json new.cdx.json"
_VERIFY = "mlsecops bom verify bom.cdx.json --model model/ --dataset train=data/ --key pub.pem"
EXAMPLE = f"{_BUILD}\n         {_VERIFY}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|lint|diff|verify")
    _configure_build(add_action(actions, "build", "write the bill of materials of a model", _BUILD))
    lint = add_action(actions, "lint", "check whether a bill is well formed", _LINT)
    option(lint, "bill F", "CycloneDX bill (JSON)", type=Path)
    add_format(lint, "sarif", "junit")
    diff = add_action(actions, "diff", "list what changed from one bill to another", _DIFF)
    option(diff, "old OLD", "earlier CycloneDX bill (JSON)", type=Path)
    option(diff, "new NEW", "later CycloneDX bill (JSON)", type=Path)
    add_format(diff)
    _configure_verify(
        add_action(actions, "verify", "verify a bill against the model and its data", _VERIFY)
    )


def _configure_build(parser: argparse.ArgumentParser) -> None:
    option(parser, "model MODEL", "model folder or file", type=Path)
    add_datasets(parser)
    option(parser, "--out F", "bill to write", type=Path, required=True)
    option(parser, "--name NAME", "name of the model; default the last part of the path")
    option(parser, "--description TEXT", "purpose of the model")
    option(parser, "--license L", "licence of the model, at best an SPDX expression")
    option(parser, "--supplier NAME", "organisation or person who supplies the model")
    option(parser, "--task TASK", "task of the model, such as image classification")
    option(parser, "--architecture NAME", "architecture of the model, such as ResNet-18")
    option(parser, "--card F", "model card: README.md of a hub, or JSON of a model card toolkit",
           type=Path)  # fmt: skip
    option(parser, "--format", "format of the bill", choices=("cyclonedx", "spdx3"),
           default="cyclonedx")  # fmt: skip
    option(parser, "--spec-version", "CycloneDX version", choices=("1.6", "1.7"), default="1.7")
    _add_evidence(parser)


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    option(parser, "bill F", "CycloneDX bill (JSON)", type=Path)
    option(parser, "--model M", "model folder or file", type=Path, required=True)
    add_name(parser)
    add_datasets(parser)
    _add_evidence(parser)
    add_format(parser, "sarif", "junit")


def _add_evidence(parser: argparse.ArgumentParser) -> None:
    option(parser, "--robustness F",
           "robustness.json; default the report that was signed with the model",
           type=Path)  # fmt: skip
    add_bundle(parser)
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Build, lint, compare or verify."""
    actions = {"build": _build, "lint": _lint, "diff": _diff, "verify": _verify}
    return actions[options.action](options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Manifest, statements and signers of a model, from its bundle."""

    manifest: Manifest
    statements: tuple[Statement, ...] = ()
    signers: tuple[str, ...] = ()


def _build(options: argparse.Namespace) -> int:
    require_path(options.model)
    datasets = read_datasets(options.dataset)
    vouched = _vouched(options)
    bill = build_bom(
        name=options.name or options.model.resolve().name,
        manifest=vouched.manifest,
        datasets=datasets,
        statements=vouched.statements,
        robustness=_robustness(options.robustness, vouched.statements),
        signers=vouched.signers,
        version=options.spec_version,
        description=options.description,
        license=options.license,
        supplier=options.supplier,
        task=options.task,
        architecture=options.architecture,
        card=options.card,
    )
    spdx = options.format == "spdx3"
    write_file(options.out, bom_text(spdx_document(bill) if spdx else bill))
    components = plural(len(bill["components"]), "component")
    form = f"SPDX {SPEC_VERSION}" if spdx else f"CycloneDX {bill['specVersion']}"
    show(f"{options.out}: {components}, {form}")
    return 0


def _vouched(options: argparse.Namespace) -> Vouched:
    place = options.bundle or bundle_path(options.model)
    if _names_somebody(options):
        policy = trust_from(options)
        name = options.name if policy.restricts_names else None
        verified = verify(options.model, place, policy=policy, name=name)
        return Vouched(
            manifest=verified.manifest, statements=verified.statements, signers=verified.signers
        )
    if options.bundle is None and not place.exists():
        note(f"{options.model} is not signed: the bill has no provenance and no signer")
        return Vouched(manifest=hash_path(options.model))
    return _asserted(options.model, place)


def _asserted(model: Path, place: Path) -> Vouched:
    """Content of an unverified bundle, after its digests were compared with the files."""
    bundle = Bundle.load(place)
    claim = read_payload(bundle.envelope.payload, where=str(place))
    actual = hash_path(
        model,
        algorithm=claim.manifest.algorithm,
        ignore=ignore_for(model, claim.manifest.ignore, place),
    )
    actual = actual.renamed(claim.manifest.name) if actual.single else actual
    claim.manifest.require(actual, where=str(model))
    leaf = bundle.certificates[:1]
    signer = identity(leaf[0]) if leaf else bundle.hint
    note(f"{place}: provenance and signer are asserted, not verified; give --key to verify them")
    return Vouched(
        manifest=claim.manifest,
        statements=claim.statements,
        signers=(signer,) if signer else (),
    )


def _robustness(path: Path | None, statements: Sequence[Statement]) -> dict[str, Any] | None:
    if path is not None:
        value = read_json(path)
        if not isinstance(value, dict) or not {"clean", "attacks"} <= value.keys():
            raise UsageError(
                f"{path}: expected a robustness report, as mlsecops attack --format json prints "
                f"it, got {kind_of(value)}"
            )
        return value
    signed = (each for each in statements if each.predicate_type == ROBUSTNESS_PREDICATE)
    return next((each.predicate for each in signed), None)


def _diff(options: argparse.Namespace) -> int:
    bills = [
        parse_object(read_text(each), what=str(each), error=FormatRefused)
        for each in (options.old, options.new)
    ]
    for path, bill in zip((options.old, options.new), bills, strict=True):
        if bill.get("bomFormat") != "CycloneDX":
            raise FormatRefused(
                f"{path}: expected a CycloneDX bill with its components, got {kind_of(bill)}; "
                "mlsecops bom build writes one"
            )
    changes = diff_boms(*bills)
    if options.format == "json":
        show_json({"changes": [each.to_dict() for each in changes]})
    else:
        show(*map(str, changes), plural(len(changes), "change"))
    return int(bool(changes))


def _lint(options: argparse.Namespace) -> int:
    bill = _read_bill(options.bill)
    report = bill if isinstance(bill, BomReport) else verify_bom(bill, artifact=str(options.bill))
    return _conclude(options, report)


def _verify(options: argparse.Namespace) -> int:
    require_path(options.model)
    datasets = read_datasets(options.dataset)
    bill = _read_bill(options.bill)
    if isinstance(bill, BomReport):
        return _conclude(options, bill)
    verified, refusals = _signature(options)
    statements = () if verified is None else verified.statements
    report = verify_bom(
        bill,
        model=options.model,
        datasets=datasets,
        verified=verified,
        robustness=_robustness(options.robustness, statements),
        artifact=str(options.bill),
    )
    both = BomReport(fields=report.fields, findings=(*report.findings, *refusals))
    return _conclude(options, both)


def _signature(options: argparse.Namespace) -> tuple[Verified | None, tuple[Finding, ...]]:
    """Verify the model if a key, root or policy is given; a refusal becomes a finding."""
    if not _names_somebody(options):
        note("the signature of the model was not verified: give --key, --root or --policy")
        return None, ()
    try:
        policy = trust_from(options)
        return verify(options.model, options.bundle, policy=policy, name=options.name), ()
    except VerificationError as error:
        return None, tuple(refusals(error, options.model))


def _read_bill(path: Path) -> dict[str, Any] | BomReport:
    text = read_text(path)
    try:
        return parse_object(text, what=str(path), error=FormatRefused)
    except FormatRefused as error:
        return BomReport(fields=(), findings=(_refusal("bom-schema", str(error), path),))


def _refusal(rule: str, message: str, path: Path) -> Finding:
    return Finding(rule=rule, severity=Severity.HIGH, message=message, where="", artifact=str(path))


def _names_somebody(options: argparse.Namespace) -> bool:
    return bool(options.key or options.root or options.identity or options.policy)


def _conclude(options: argparse.Namespace, report: BomReport) -> int:
    if options.format == "json":
        show_json(report.to_dict())
    elif options.format in {"sarif", "junit"}:
        print_findings(report.findings, options.format, checked=[str(options.bill)])
    else:
        for finding in report.findings:
            show(f"{finding.severity.label} {finding.rule}: {finding.message}")
        for field in report.fields:
            show(f"  {field.state.value:<11} {field.name}: {field.detail}")
        show(f"{options.bill}: {'holds' if report.holds else 'refused'}, score {report.score}")
    return int(not report.holds)
