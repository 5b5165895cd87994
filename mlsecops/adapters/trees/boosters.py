"""Adapters of boosting libraries' own objects, and of trees that were read from a file.

xgboost.Booster, lightgbm.Booster, catboost.CatBoost → BoosterAdapter → scores before the softmax
Ensemble → EnsembleAdapter → the same, without the library
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import BlackBox, TriedInputs, in_batches, require_cpu, softmax
from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array


class _TreeModel(TriedInputs, BlackBox):
    """Base: one call that returns sums of leaves, a column for each class or one for two."""

    def _prepare(self, device: str | None) -> None:
        require_cpu(device, what="tree ensembles")
        self.name = type(self.model).__name__

    @abc.abstractmethod
    def _sums(self, x: Array) -> Any:
        """Sums of leaves of each row, as the library gives them."""

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`; of two classes the first has 0."""
        return in_batches(self._scores, self._rows(x))

    def _scores(self, x: Array) -> Array:
        flat = np.asarray(x).reshape(len(x), -1)
        with self._answering(flat):
            sums = np.asarray(self._sums(flat), dtype=np.float32).reshape(len(flat), -1)
        return sums if sums.shape[1] > 1 else np.concatenate([np.zeros_like(sums), sums], axis=1)

    def features(self, x: Array) -> Array:
        """The flattened inputs `(n, d)`: trees have no hidden layer."""
        return np.asarray(self._rows(x)).reshape(len(x), -1)

    def _call(self, batch: Any) -> object:
        return self._scores(batch)


@concise_repr("model", "framework")
class BoosterAdapter(_TreeModel):
    """A Booster of XGBoost or LightGBM, or a CatBoost model, on the CPU.

    A model of one score answers two classes, the second where the score is above 0.
    """

    framework = "trees"  # of the class; an instance has its library's

    def _prepare(self, device: str | None) -> None:
        super()._prepare(device)
        self.framework = type(self.model).__module__.split(".")[0]
        try:
            trees = read_trees(self.model)
        except UsageError:
            return  # the model answers by itself
        if trees is not None and trees.scale == "values":
            raise UsageError(
                f"{self.name}: expected a classifier, got a regression; give evaluate_robustness "
                "a tolerance"
            )

    def _sums(self, x: Array) -> Any:
        if self.framework == "xgboost":
            data = require("xgboost").DMatrix(x, feature_names=self.model.feature_names)
            return self.model.predict(data, output_margin=True)
        if self.framework == "lightgbm":
            return self.model.predict(x, raw_score=True)
        return self.model.predict(x, prediction_type="RawFormulaVal")

    @property
    def classes_(self) -> Any:
        """The model's own labels `(k,)` where it knows them (CatBoost), or None."""
        found = getattr(self.model, "classes_", None)
        return found if found is not None and len(found) else None


@concise_repr("model")
class EnsembleAdapter(_TreeModel):
    """Trees that were read from a file, summed in float64."""

    framework = "trees"

    def _prepare(self, device: str | None) -> None:
        super()._prepare(device)
        if cast("Ensemble", self.model).scale == "values":
            raise UsageError("trees: expected a classifier, got a regression")

    def _sums(self, x: Array) -> Any:
        scores = self.model.scores(x)
        if self.model.scale == "probabilities":
            return np.log(np.maximum(scores, np.finfo(np.float32).tiny))
        return scores

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        return softmax(self.logits(x))
