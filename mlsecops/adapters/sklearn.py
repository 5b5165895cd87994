"""scikit-learn Adapter: class probabilities, no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import (
    BlackBox,
    FrameworkAdapter,
    float_rows,
    in_batches,
    log_probabilities,
    require_cpu,
    require_width,
)
from mlsecops.errors import FormatRefused, UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array


@concise_repr("model")
class SklearnAdapter(FrameworkAdapter, BlackBox):
    """A fitted scikit-learn classifier with `predict_proba`, on the CPU.

    Label `i` is `classes_[i]`; inputs are flattened to `(n, d)`.
    """

    framework = "sklearn"

    def _prepare(self, device: str | None) -> None:
        self.name = type(self.model).__name__
        if not hasattr(self.model, "predict_proba"):
            raise UsageError(
                f"{self.name} has no predict_proba: expected a classifier with probabilities; "
                "wrap it in CalibratedClassifierCV"
            )
        require_cpu(device, what="scikit-learn models")

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        import numpy as np  # noqa: PLC0415 - only where arrays are converted

        def run(batch: Array) -> Array:
            return cast("Array", np.asarray(self.model.predict_proba(_flat(batch)), np.float32))

        rows = in_batches(run, float_rows(x))
        require_width(rows.shape, self._classes)
        return rows

    def logits(self, x: Array) -> Array:
        """Log-probabilities `(n, k)`; scikit-learn has no common interface to scores."""
        return log_probabilities(self.predict(x))

    def features(self, x: Array) -> Array:
        """The flattened inputs `(n, d)`: these models have no hidden layer."""
        return _flat(float_rows(x))

    def encode(self) -> bytes:
        """The classifier in skops' format."""
        return bytes(require("skops.io").dumps(self.model))

    def decode(self, data: bytes) -> None:
        """Replace the classifier by that of a skops archive of types that skops trusts."""
        skops = require("skops.io")
        try:
            found = skops.loads(data)
        except Exception as error:  # skops has no common error
            raise FormatRefused(f"skops refuses the bytes: {error}") from error
        if type(found) is not type(self.model):
            raise FormatRefused(
                f"skops archive: expected a {self.name}, got a {type(found).__name__}"
            )
        self.model = found


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)
