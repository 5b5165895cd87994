"""A small signed model with its manifest, statement, robustness report and bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from mlsecops.provenance import Manifest, Statement, hash_dataset, hash_path, training_run
from mlsecops.reports import build_bom
from mlsecops.signing import Signer, TrustPolicy, Verified, sign, verify

PACKAGES = (
    {
        "uri": "pkg:pypi/numpy@2.0.0",
        "digest": {"sha256": "5a" * 32},
        "annotations": {"digestOf": "RECORD", "licenses": ["BSD-3-Clause"], "requires": []},
    },
    {
        "uri": "pkg:pypi/torch@2.13.0%2Bcpu",
        "annotations": {"licenses": ["BSD License"], "requires": ["numpy"]},
    },
)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Release:
    """A signed model with the inputs of its bill of materials."""

    folder: Path
    manifest: Manifest
    data: Manifest
    statement: Statement
    robustness: dict[str, Any]
    verified: Verified

    def bom(self, **changes: Any) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": "digits",
            "manifest": self.manifest,
            "datasets": {"train": self.data},
            "statements": [self.statement],
            "robustness": self.robustness,
            "signers": self.verified.signers,
            "at": AT,
            "packages": PACKAGES,
        }
        return build_bom(**{**options, **changes})


def robustness_report(digest: str | None = None, *, worst: float = 0.8) -> dict[str, Any]:
    def figure(accuracy: float) -> dict[str, Any]:
        return {"accuracy": accuracy, "interval": [accuracy - 0.05, min(accuracy + 0.02, 1.0)]}

    return {
        "verdict": "pass",
        "n": 200,
        "seed": 0,
        "clean": figure(0.97),
        "worst": figure(worst),
        "attacks": [
            {"name": "fgsm", "params": {"eps": 0.1}, **figure(0.85)},
            {"name": "pgd", "params": {"eps": 0.1, "steps": 40}, **figure(worst)},
        ],
        "checks": [{"name": "zero-gradients", "outcome": "pass", "reason": "none of 200"}],
        "model": "SmallNet",
        "model_digest": digest,
        "data_digest": None,
    }


def make_release(tmp_path: Path) -> Release:
    """Sign a small model that was trained on a small data set."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 3}')
    (folder / "weights.safetensors").write_bytes(bytes(range(64)))
    data = hash_dataset({"x": np.arange(6.0), "y": np.arange(6)}, name="train")
    with training_run("train", datasets=[data], hyperparameters={"lr": 0.1, "epochs": 3}) as run:
        run.add_output(folder)
    with patch("mlsecops.provenance.lineage.packages", lambda: PACKAGES):
        statement = run.statement()
    manifest, signer = hash_path(folder), Signer.generate("p256")
    sign(folder, signer, statements=[statement])
    verified = verify(folder, policy=TrustPolicy(keys=[signer.public_key]))
    return Release(
        folder, manifest, data, statement, robustness_report(str(manifest.root)), verified
    )
