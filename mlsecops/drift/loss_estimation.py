"""How far off a regression probably is, before any true value arrives.

inputs, predictions, true values → LossEstimator.fit → expected loss of new predictions

This is direct loss estimation (DLE): a second model learns the first one's loss from its inputs and
its prediction. Like every estimate without labels it holds under covariate shift only.

Source: the documentation of NannyML (direct loss estimation); the second model is scikit-learn's
histogram gradient boosting.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._extras import require
from mlsecops._files import write_atomically
from mlsecops.drift.array_files import pack, read, unpack
from mlsecops.drift.boosted_trees import Trees
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.signing.policy import TrustPolicy

__all__ = ["LossEstimator"]

Floats = NDArray[np.float64]
Loss = Literal["absolute", "squared"]

_KIND: Final = "loss-estimator"
_LOSSES: Final[dict[str, Callable[[Floats], Floats]]] = {"absolute": np.abs, "squared": np.square}


class LossEstimator:
    """Expected loss of a regression model's predictions.

    Made by `fit` or `load`; only fitting needs scikit-learn.
    """

    __slots__ = ("_features", "_trees", "loss")

    def __init__(self, trees: Trees, *, features: int, loss: str) -> None:
        self._trees = trees
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
            x: `(n, …)` inputs that the model was not trained on.
            predictions: `(n,)` its answers.
            targets: `(n,)` true values.
            loss: `"absolute"`, whose mean is the MAE, or `"squared"`, whose mean is the MSE.
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
        return cls(Trees.of(model), features=table.shape[1], loss=loss)

    def estimate(self, x: ArrayLike, predictions: ArrayLike) -> float:
        """Mean loss to expect of predictions whose true values are not known.

        Args:
            x: `(n, …)` inputs.
            predictions: `(n,)` the model's answers.

        Raises:
            UsageError: They are not like those it was fitted on.
        """
        table, _ = _table(x, predictions)
        if table.shape[1] != self._features or not len(table):
            raise UsageError(
                f"x: expected rows of {self._features - 1} numbers, got {table.shape[1] - 1}"
            )
        return float(np.maximum(self._trees.predict(table), 0.0).mean())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the estimator to a file, without pickle; `sign` it like any artifact.

        Raises:
            OSError: The file cannot be written.
        """
        facts = {"features": self._features, "loss": self.loss}
        return write_atomically(path, pack(_KIND, facts, self._trees.arrays()))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, policy: TrustPolicy | None = None
    ) -> LossEstimator:
        """Read an estimator; nothing in the file can run.

        Args:
            path: The file.
            policy: Who must have signed it (`FILE.sig` beside it), or None.

        Raises:
            FormatRefused: It is no estimator, is damaged, or contradicts itself.
            LimitExceeded: It is too large.
            VerificationError: A policy was given, and the signature does not hold under it.
            OSError: It cannot be read.
        """
        facts, arrays = unpack(read(path, policy=policy), _KIND, where=str(path))
        try:
            features, loss = int(facts["features"]), str(facts["loss"])
            trees = Trees.from_arrays(arrays, features)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatRefused(f"{path}: malformed loss estimator: {error!r}") from error
        if loss not in _LOSSES:
            raise FormatRefused(f"{path}: expected a loss of {', '.join(_LOSSES)}, got {loss!r}")
        return cls(trees, features=features, loss=loss)


def _table(x: ArrayLike, predictions: ArrayLike) -> tuple[Floats, Floats]:
    """Inputs and prediction side by side `(n, d + 1)`, and the predictions `(n,)`."""
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
