from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from mlsecops import Signer, TrustPolicy, sign
from mlsecops.drift.array_files import pack, unpack
from mlsecops.drift.boosted_trees import Trees
from mlsecops.errors import DigestMismatch, FormatRefused, MissingExtra, UsageError
from mlsecops.monitoring import LossEstimator
from tests.attackers.drift import flipped


def drawn(seed: int, rows: int, center: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, predictions and targets whose noise grows with the input."""
    rng = np.random.default_rng(seed)
    x = rng.normal(center, 1, size=(rows, 2))
    prediction = 3 * x[:, 0]
    target = prediction + rng.normal(size=rows) * (0.2 + np.abs(x[:, 0]))
    return x, prediction, target


@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_loss_under_covariate_shift_is_estimated_without_targets(loss: str) -> None:
    estimator = LossEstimator.fit(*drawn(0, 8000, 0.0), loss=loss)  # type: ignore[arg-type] # both literals
    measure = np.abs if loss == "absolute" else np.square
    x, prediction, target = drawn(0, 8000, 0.0)
    reference = measure(target - prediction).mean()
    x, prediction, target = drawn(1, 4000, 1.2)
    real = measure(target - prediction).mean()
    assert estimator.estimate(x, prediction) == pytest.approx(real, rel=0.15)
    assert abs(reference - real) > 0.25 * real  # taking the reference's loss would be wrong


def test_wrong_use_is_the_callers_fault() -> None:
    x, prediction, target = drawn(0, 500, 0.0)
    with pytest.raises(UsageError, match="loss"):
        LossEstimator.fit(x, prediction, target, loss="cubic")  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(UsageError, match="targets"):
        LossEstimator.fit(x, prediction, target[:-1])
    with pytest.raises(UsageError, match="predictions"):
        LossEstimator.fit(x, prediction[:-1], target)
    with pytest.raises(UsageError, match="expected numbers"):
        LossEstimator.fit([["a"]], ["b"], [1.0])
    with pytest.raises(UsageError, match="rows of 2"):
        LossEstimator.fit(x, prediction, target).estimate(x[:, :1], prediction)


def test_without_the_extra_the_missing_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtra, match="sklearn"):
        LossEstimator.fit(*drawn(0, 100, 0.0))


@pytest.fixture(scope="module")
def estimator() -> LossEstimator:
    return LossEstimator.fit(*drawn(0, 3000, 0.0))


def test_trees_answer_as_the_library_that_grew_them() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4))
    x[rng.random(x.shape) < 0.1] = np.nan
    model = HistGradientBoostingRegressor(max_iter=40).fit(x, np.nansum(x[:, :2], axis=1))
    assert (Trees.of(model).predict(x) == model.predict(x)).all()


def test_a_saved_estimator_answers_as_before_and_without_scikit_learn(
    estimator: LossEstimator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = estimator.save(tmp_path / "loss")
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    again = LossEstimator.load(path)
    x, prediction, _ = drawn(1, 1000, 0.5)
    assert again.estimate(x, prediction) == estimator.estimate(x, prediction)
    assert again.loss == "absolute"


def test_an_estimator_is_loaded_as_it_was_signed_or_not_at_all(
    estimator: LossEstimator, tmp_path: Path
) -> None:
    signer = Signer.generate("p256")
    policy = TrustPolicy(keys=[signer.public_key])
    path = estimator.save(tmp_path / "loss")
    sign(path, signer)
    LossEstimator.load(path, policy=policy)
    path.write_bytes(pack("loss-estimator", {}, {}))
    with pytest.raises(DigestMismatch):
        LossEstimator.load(path, policy=policy)


@pytest.mark.parametrize("place", [3, 40, -40, -1])
def test_a_flipped_bit_of_an_estimator_is_refused(
    place: int, estimator: LossEstimator, tmp_path: Path
) -> None:
    path = estimator.save(tmp_path / "loss")
    path.write_bytes(flipped(path.read_bytes(), place))
    with pytest.raises(FormatRefused):
        LossEstimator.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left", 0),  # a walk that never ends
        ("right", 10**6),
        ("left", -1),
        ("feature", 3),
        ("feature", -1),
        ("threshold", np.nan),
        ("value", np.inf),
        ("start", np.nan),
    ],
)
def test_forged_trees_are_refused(
    name: str, value: float, estimator: LossEstimator, tmp_path: Path
) -> None:
    path = estimator.save(tmp_path / "loss")
    facts, arrays = unpack(path.read_bytes(), "loss-estimator", where="loss")
    arrays[name].flat[0] = value
    path.write_bytes(pack("loss-estimator", facts, arrays))
    with pytest.raises(FormatRefused):
        LossEstimator.load(path)


@pytest.mark.parametrize(
    ("facts", "arrays"),
    [
        ({"loss": "cubic"}, {}),
        ({"features": "many"}, {}),
        ({"features": -1}, {}),
        ({}, {"value": np.zeros(4)}),
        ({}, {"left": np.zeros((1, 1), dtype=np.int64)}),
        ({}, {"threshold": np.zeros((1, 1), dtype=np.int64)}),
        ({}, {"start": np.zeros(2)}),
    ],
)
def test_estimators_that_contradict_themselves_are_refused(
    facts: dict[str, object],
    arrays: dict[str, np.ndarray],
    estimator: LossEstimator,
    tmp_path: Path,
) -> None:
    path = estimator.save(tmp_path / "loss")
    known, values = unpack(path.read_bytes(), "loss-estimator", where="loss")
    path.write_bytes(pack("loss-estimator", known | facts, values | arrays))
    with pytest.raises(FormatRefused):
        LossEstimator.load(path)
