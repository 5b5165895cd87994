from __future__ import annotations

import numpy as np
import pytest

from mlsecops.errors import MissingExtra, UsageError
from mlsecops.monitoring import LossEstimator


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
