"""Loss estimation of a regression model without true values (DLE).

    inputs, predictions, true values → LossEstimator.fit → expected loss of new predictions

In direct loss estimation a second model learns the first model's loss from its inputs and its
prediction. Like every estimate without labels it holds under covariate shift only.

Source: the documentation of NannyML (direct loss estimation); the second model is scikit-learn's
histogram gradient boosting.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops import signing
from mlsecops._choices import checked, one_of
from mlsecops._extras import require
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.drift.array_files import decode, pack, read
from mlsecops.drift.boosted_trees import Trees
from mlsecops.drift.inputs import Floats, as_numbers
from mlsecops.errors import FormatRefused, UsageError

Loss = Literal["absolute", "squared"]

_KIND: Final = "loss-estimator"
_LOSSES: Final[dict[str, Callable[[Floats], Floats]]] = {"absolute": np.abs, "squared": np.square}


@concise_repr("loss")
class LossEstimator:
    """Expected loss of a regression model's predictions.

    Made by `fit` or `load`; only fitting needs scikit-learn.
    """

    __slots__ = ("_features", "loss", "trees")

    def __init__(self, trees: Trees, *, features: int, loss: str) -> None:
        self.trees = trees
        self._features = features
        self.loss = loss

    @classmethod
    @checked
    def fit(
        cls,
        x: ArrayLike,
        predictions: ArrayLike,
        targets: ArrayLike,
        *,
        loss: Loss = "absolute",
        seed: int = 0,
    ) -> LossEstimator:
        """Fit an estimator to a model's loss.

        Args:
            x: `(n, …)` inputs that the model was not trained on.
            predictions: `(n,)` its answers.
            targets: `(n,)` true values.
            loss: `"absolute"`, whose mean is the MAE, or `"squared"`, whose mean is the MSE.
            seed: Seeds the gradient boosting.

        Raises:
            UsageError: The shapes do not match, or the loss is unknown.
            MissingExtra: scikit-learn is not installed.
        """
        one_of("loss", loss, _LOSSES)
        table, answers = _table(x, predictions)
        truth = np.asarray(targets, dtype=np.float64)
        if truth.shape != answers.shape:
            raise UsageError(f"targets: expected shape {answers.shape}, got {truth.shape}")
        model = require("sklearn.ensemble").HistGradientBoostingRegressor(
            max_iter=100, min_samples_leaf=40, early_stopping=True, random_state=seed
        )
        model.fit(table, _LOSSES[loss](truth - answers))
        return cls(Trees.of(model), features=table.shape[1], loss=loss)

    @checked
    def estimate(self, x: ArrayLike, predictions: ArrayLike) -> float:
        """Estimate the mean loss of predictions `(n,)` for inputs `(n, …)`, without true values.

        Raises:
            UsageError: The shapes differ from those it was fitted on.
        """
        table, _ = _table(x, predictions)
        if table.shape[1] != self._features or not len(table):
            raise UsageError(
                f"x: expected rows of {self._features - 1} numbers, got {table.shape[1] - 1}"
            )
        return float(self.losses(x, predictions).mean())

    def losses(self, x: ArrayLike, predictions: ArrayLike) -> Floats:
        """Estimate the loss of each of the predictions `(n,)`, as `estimate` does their mean."""
        table, _ = _table(x, predictions)
        return np.asarray(np.maximum(self.trees.predict(table), 0.0), dtype=np.float64)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the estimator to a file, as `Baseline.save` does."""
        facts = {"features": self._features, "loss": self.loss}
        return write_atomically(path, pack(_KIND, facts, self.trees.arrays()))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, policy: signing.TrustPolicy | None = None
    ) -> LossEstimator:
        """Read an estimator, with the arguments and exceptions of `Baseline.load`."""
        return decode(read(path, policy=policy), _KIND, cls._parse, where=str(path))

    @classmethod
    def _parse(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> LossEstimator:
        features, loss = int(facts["features"]), str(facts["loss"])
        if loss not in _LOSSES:
            raise FormatRefused(f"loss: expected {' or '.join(_LOSSES)}, got {loss[:40]!r}")
        return cls(Trees.from_arrays(arrays, features), features=features, loss=loss)


def _table(x: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Inputs with the prediction as last column `(n, d + 1)`, and the predictions `(n,)`."""
    values, answers = as_numbers(x), as_numbers(predictions)
    if answers.ndim != 1 or values.shape[:1] != answers.shape:
        raise UsageError(
            f"predictions: expected one for each row of {values.shape}, got {answers.shape}"
        )
    return np.column_stack([values.reshape(len(values), -1), answers]), answers
