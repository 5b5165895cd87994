"""How far off a regression probably is, before any true value arrives.

inputs, predictions, true values → LossEstimator.fit → expected loss of new predictions

This is direct loss estimation (DLE): a second model learns the first one's loss from its inputs and
its prediction. Like every estimate without labels it holds under covariate shift only.

Source: the documentation of NannyML (direct loss estimation); the second model is scikit-learn's
histogram gradient boosting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._extras import require
from mlsecops.errors import UsageError

__all__ = ["LossEstimator"]

Floats = NDArray[np.float64]
Loss = Literal["absolute", "squared"]

_LOSSES: Final[dict[str, Callable[[Floats], Floats]]] = {"absolute": np.abs, "squared": np.square}


class LossEstimator:
    """Expected loss of a regression model's predictions.

    It lives in memory only: a fitted gradient boosting has no file format but pickle.
    """

    __slots__ = ("_features", "_model", "loss")

    def __init__(self, model: Any, *, features: int, loss: str) -> None:
        self._model = model
        self._features = features
        self.loss = loss

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        predictions: ArrayLike,
        targets: ArrayLike,
        *,
        loss: Loss = "absolute",
        seed: int = 0,
    ) -> LossEstimator:
        """Learn a model's loss.

        Args:
            x: ``(n, …)`` inputs that the model was not trained on.
            predictions: ``(n,)`` its answers.
            targets: ``(n,)`` true values.
            loss: ``"absolute"``, whose mean is the MAE, or ``"squared"``, whose mean is the MSE.
            seed: Of the gradient boosting.

        Raises:
            UsageError: Shapes do not fit together, or the loss is unknown.
            MissingExtra: scikit-learn is not installed.
        """
        if loss not in _LOSSES:
            raise UsageError(f"loss: expected {' or '.join(_LOSSES)}, got {loss!r}")
        table, answers = _table(x, predictions)
        truth = np.asarray(targets, dtype=np.float64)
        if truth.shape != answers.shape:
            raise UsageError(f"targets: expected shape {answers.shape}, got {truth.shape}")
        model = require("sklearn.ensemble").HistGradientBoostingRegressor(
            max_iter=100, min_samples_leaf=40, early_stopping=True, random_state=seed
        )
        model.fit(table, _LOSSES[loss](truth - answers))
        return cls(model, features=table.shape[1], loss=loss)

    def estimate(self, x: ArrayLike, predictions: ArrayLike) -> float:
        """Mean loss to expect of predictions whose true values are not known.

        Args:
            x: ``(n, …)`` inputs.
            predictions: ``(n,)`` the model's answers.

        Raises:
            UsageError: They are not like those it was fitted on.
        """
        table, _ = _table(x, predictions)
        if table.shape[1] != self._features or not len(table):
            raise UsageError(
                f"x: expected rows of {self._features - 1} numbers, got {table.shape[1] - 1}"
            )
        return float(np.maximum(self._model.predict(table), 0.0).mean())


def _table(x: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Inputs and prediction side by side ``(n, d + 1)``, and the predictions ``(n,)``."""
    try:
        values = np.asarray(x, dtype=np.float64)
        answers = np.asarray(predictions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected numbers: {error}") from error
    if answers.ndim != 1 or values.shape[:1] != answers.shape:
        raise UsageError(
            f"predictions: expected one for each row of {values.shape}, got {answers.shape}"
        )
    return np.column_stack([values.reshape(len(values), -1), answers]), answers
