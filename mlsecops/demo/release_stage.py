"""Step 4: sign the models that passed, with their provenance and bill of materials, and publish."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlsecops.demo.scene import DemoContext
from mlsecops.demo.training_stage import GATE, Candidate
from mlsecops.pipeline import BOM_PREDICATE
from mlsecops.provenance import Manifest, Statement, hash_path
from mlsecops.registry import Registry, Version
from mlsecops.reports import build_bom
from mlsecops.signing import sign

NAME: Final = "digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed and published model.

    Attributes:
        folder: The signed folder.
        version: Its version in the registry.
        candidate: What is known of it.
    """

    folder: Path
    version: Version
    candidate: Candidate


def release_models(
    scene: DemoContext, data: Manifest, candidates: Sequence[Candidate]
) -> tuple[Registry, tuple[Release, ...]]:
    """Sign and publish each candidate in turn; the last one serves."""
    with scene.step(4, "Signing, bill of materials, registry") as tell:
        registry = Registry(scene.out / "registry", signer=scene.signer, policy=scene.policy)
        releases = []
        for candidate in candidates:
            statements = _statements(scene, data, candidate)
            sign(candidate.folder, scene.signer, statements=statements)
            version = registry.publish(NAME, candidate.folder)
            registry.promote(NAME, version.version, "serving")
            tell(f"version {version.version}", f"{version.digest}, signed, published, serving")
            releases.append(Release(folder=candidate.folder, version=version, candidate=candidate))
        kinds = ", ".join(statement.predicate_type for statement in statements)
        tell("signed with it", kinds)
        tell("signer", f"P-256 key {scene.signer.public_key.fingerprint[:16]}")
        tell("log", f"{registry.verify_log().size} entries, verified")
    return registry, tuple(releases)


def keep_model(scene: DemoContext, release: Release) -> Path:
    """Put the delivered model's signed folder where the deliverables expect it."""
    folder = scene.out / "model"
    shutil.copytree(release.folder, folder)
    shutil.rmtree(scene.out / "candidates")
    return folder


def _statements(scene: DemoContext, data: Manifest, candidate: Candidate) -> list[Statement]:
    manifest = hash_path(candidate.folder)
    verdict = GATE.judge(candidate.report).verdict
    bom = build_bom(
        name=NAME,
        manifest=manifest,
        datasets={NAME: data},
        statements=[candidate.provenance],
        robustness=candidate.report.to_dict(verdict=verdict),
        signers=[scene.signer.public_key.fingerprint],
    )
    subjects = {manifest.name: manifest.root}
    return [
        candidate.provenance,
        Statement.build(subjects=subjects, predicate_type=BOM_PREDICATE, predicate=bom),
        candidate.report.statement(verdict=verdict, name=manifest.name),
    ]
