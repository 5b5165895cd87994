"""A scikit-learn classifier as an Adapter: probabilities only, no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mlsecops._extras import require
from mlsecops.adapters.base import float_rows, in_batches, log_probabilities, require_width
from mlsecops.errors import FormatRefused, UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Labels


class SklearnAdapter:
    """A scikit-learn classifier with `predict_proba`; label `i` is `classes_[i]`.

    Args:
        model: The fitted classifier; it sees inputs flattened to `(n, d)`.
        channels_first: As `mlsecops.adapters.adapt`; False by default.
        device: Must be None or `"cpu"`.
        classes: As `mlsecops.adapters.adapt`.

    Raises:
        UsageError: It gives no probabilities, or another device is asked for.
    """

    framework = "sklearn"
    differentiable = False

    def __init__(
        self,
        model: Any,
        *,
        channels_first: bool | None = None,
        device: str | None = None,
        classes: int | None = None,
    ) -> None:
        if not hasattr(model, "predict_proba"):
            raise UsageError(
                f"{type(model).__name__} has no predict_proba: expected a classifier that gives "
                "probabilities (wrap it in CalibratedClassifierCV, say)"
            )
        if device not in {None, "cpu"}:
            raise UsageError(f"scikit-learn runs on the cpu, got device {device!r}")
        self.model = model
        self.channels_first = bool(channels_first)
        self._classes = classes

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        import numpy as np  # noqa: PLC0415 - only where arrays are converted

        def run(batch: Array) -> Array:
            return cast("Array", np.asarray(self.model.predict_proba(_flat(batch)), np.float32))

        rows = in_batches(run, float_rows(x))
        require_width(rows.shape, self._classes)
        return rows

    def logits(self, x: Array) -> Array:
        """Log-probabilities `(n, k)`: all that scikit-learn's classifiers have in common."""
        return log_probabilities(self.predict(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Not available.

        Raises:
            UsageError: Always; attack this model with decision-based attacks.
        """
        raise UsageError(
            f"{type(self.model).__name__} has no gradients ({len(x)} inputs, {len(y)} labels): "
            "use an attack that needs only predictions"
        )

    def features(self, x: Array) -> Array:
        """The flattened inputs `(n, d)`: such a model has no layer in between."""
        return _flat(float_rows(x))

    def encode(self) -> bytes:
        """The classifier in skops' format."""
        return encode_skops(self.model)

    def decode(self, data: bytes) -> None:
        """Put the classifier of a skops archive in this one's place.

        Raises:
            FormatRefused: It is of another class, or holds what skops does not trust.
        """
        found = decode_skops(data)
        if type(found) is not type(self.model):
            raise FormatRefused(
                f"expected a {type(self.model).__name__}, got a {type(found).__name__}"
            )
        self.model = found


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def encode_skops(model: Any) -> bytes:
    """An estimator in skops' format."""
    return bytes(require("skops.io").dumps(model))


def decode_skops(data: bytes) -> Any:
    """The estimator of skops bytes, of what skops trusts by itself.

    Raises:
        FormatRefused: skops refuses them.
    """
    skops = require("skops.io")
    try:
        return skops.loads(data)
    except Exception as error:  # as above
        raise FormatRefused(f"skops refuses the bytes: {error}") from error
