"""Published files of tree ensembles load without their library, and are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import evaluate_robustness, sign
from mlsecops.robustness import TreeAttack
from mlsecops.signing import Signer
from tests.loading.conftest import Trusting
from tests.tree_models import CLASSIFIERS, fitted, rows


def written(kind: str, folder: Path) -> tuple[Any, Path]:
    """A trained model and its file."""
    x, y = rows(3)
    model = fitted(CLASSIFIERS["lightgbm" if kind == "txt" else "xgboost"], x, y)
    path = folder / f"model.{kind}"
    if kind == "txt":
        model.booster_.save_model(str(path))
    else:
        model.save_model(path)
    return model, path


@pytest.mark.parametrize("kind", ["json", "ubj", "txt"])
def test_a_verified_file_is_loaded_adapted_and_certified(
    kind: str, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    model, path = written(kind, tmp_path)
    sign(path, signer)
    loaded = trusting().load(path)
    x, y = rows(3, seed=1)
    assert loaded.adapter is not None
    np.testing.assert_allclose(loaded.adapter.predict(x), model.predict_proba(x), atol=1e-5)
    report = evaluate_robustness(loaded, x, y, TreeAttack(0.05))
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits
    assert report.model_digest == loaded.digest
