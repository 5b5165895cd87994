"""Two signed models, and the parts of a pipeline that are about each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlsecops import (
    SecureLoader,
    SecurePipeline,
    Signer,
    TrustPolicy,
    evaluate_robustness,
    hash_path,
    sign,
    training_run,
    verify,
)
from mlsecops.llm import Campaign
from mlsecops.loading import LoadedModel
from mlsecops.provenance import Manifest
from mlsecops.reports import ControlState, build_bom
from mlsecops.robustness import RobustnessReport, Square
from tests.reports.releases import PACKAGES


@dataclass(frozen=True)
class Made:
    """A signed model and the parts that are about it."""

    folder: Path
    data: Manifest
    loaded: LoadedModel
    report: RobustnessReport
    bom: dict[str, Any]
    campaign: Campaign


@dataclass(frozen=True)
class World:
    policy: TrustPolicy
    signer: Any
    models: dict[str, Made]

    def pipeline(self, **parts: Any) -> SecurePipeline:
        return SecurePipeline(name="a", model=self.models["a"].folder, policy=self.policy, **parts)


def make(root: Path, name: str, signer: Any, policy: TrustPolicy) -> Made:
    rng = np.random.default_rng(ord(name))
    x = rng.random((60, 4), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(int)
    data, folder = root / f"data-{name}", root / f"model-{name}"
    data.mkdir()
    folder.mkdir()
    np.savez(data / "t.npz", x=x, y=y)
    with (
        patch("mlsecops.provenance.lineage.packages", lambda: PACKAGES),
        training_run(name, datasets=[data], hyperparameters={"C": 1}) as run,
    ):
        joblib.dump(LogisticRegression().fit(x, y), folder / "m.joblib")
        run.add_output(folder)
        statement = run.statement()
    sign(folder, signer, statements=[statement])
    loaded = SecureLoader(policy).load(folder)
    report = evaluate_robustness(loaded, x, y, [Square(eps=0.01, queries=5)], checks=False)
    bom = build_bom(
        name=name, manifest=loaded.verified.manifest, datasets={}, packages=(),
        statements=loaded.verified.statements,
    )  # fmt: skip
    campaign = Campaign(target=name, seed=0, results=(), target_id=str(loaded.digest))
    return Made(folder, hash_path(data), loaded, report, bom, campaign)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root, signer = tmp_path_factory.mktemp("world"), Signer.generate("p256")
    policy = TrustPolicy(keys=[signer.public_key])
    return World(policy, signer, {each: make(root, each, signer, policy) for each in "ab"})


def parts_of(made: Made, names: tuple[str, ...]) -> dict[str, Any]:
    known = {
        "datasets": {"data": made.data},
        "robustness": made.report,
        "loaded": made.loaded,
        "bom": made.bom,
        "campaign": made.campaign,
    }
    return {name: known[name] for name in names}


def states(world: World, **parts: Any) -> dict[str, tuple[ControlState, str]]:
    verified = verify(world.models["a"].folder, policy=world.policy)
    return world.pipeline(**parts).control_states(verified)
