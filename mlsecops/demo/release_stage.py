"""Step 4: signature, provenance, bill of materials and publication of models that passed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlsecops.demo.context import DemoContext
from mlsecops.demo.training_stage import GATE, Candidate
from mlsecops.pipeline import BOM_PREDICATE
from mlsecops.provenance import Manifest, Statement, hash_path
from mlsecops.registry import Registry, Version
from mlsecops.reports import build_bom
from mlsecops.signing import sign

NAME: Final = "digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed folder, its version in the registry, and the model with report and provenance."""

    folder: Path
    version: Version
    candidate: Candidate


def release_models(
    context: DemoContext, data: Manifest, candidates: Sequence[Candidate]
) -> tuple[Registry, tuple[Release, ...]]:
    """Sign and publish each candidate in turn; the last one serves."""
    with context.step(4, "Signing, bill of materials, registry") as fact:
        registry = Registry(context.out / "registry", signer=context.signer, policy=context.policy)
        releases = []
        for candidate in candidates:
            statements = _statements(context, data, candidate)
            sign(candidate.folder, context.signer, statements=statements)
            version = registry.publish(NAME, candidate.folder)
            registry.promote(NAME, version.version, "serving")
            fact(f"version {version.version}", f"{version.digest}, signed, published, serving")
            releases.append(Release(folder=candidate.folder, version=version, candidate=candidate))
        kinds = ", ".join(statement.predicate_type for statement in statements)
        fact("signed with it", kinds)
        fact("signer", f"P-256 key {context.signer.public_key.fingerprint[:16]}")
        fact("log", f"{registry.verify_log().size} entries, verified")
    return registry, tuple(releases)


def keep_model(context: DemoContext, release: Release) -> Path:
    """Copy the delivered model's signed folder to its place among the deliverables."""
    folder = context.out / "model"
    shutil.copytree(release.folder, folder)
    shutil.rmtree(context.out / "candidates")
    return folder


def _statements(context: DemoContext, data: Manifest, candidate: Candidate) -> list[Statement]:
    manifest = hash_path(candidate.folder)
    verdict = GATE.judge(candidate.report).verdict
    bom = build_bom(
        name=NAME,
        manifest=manifest,
        datasets={NAME: data},
        statements=[candidate.provenance],
        robustness=candidate.report.to_dict(verdict=verdict),
        signers=[context.signer.public_key.fingerprint],
    )
    subjects = {manifest.name: manifest.root}
    return [
        candidate.provenance,
        Statement.build(subjects=subjects, predicate_type=BOM_PREDICATE, predicate=bom),
        candidate.report.statement(verdict=verdict, name=manifest.name),
    ]
