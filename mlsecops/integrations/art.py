"""Adapters as estimators of the Adversarial Robustness Toolbox (ART).

Adapter → `estimator` → ART classifier, on which ART's attacks, metrics and detectors run
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from mlsecops._choices import checked, one_of, whole
from mlsecops._extras import require
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels


@checked
def estimator(
    model: Any,
    *,
    input_shape: Sequence[int],
    classes: int,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    predicts: Literal["logits", "probabilities"] = "logits",
) -> Any:
    """Make an ART classifier from a model or Adapter.

    Its predictions are log-probabilities, which ART's attacks accept as logits, or probabilities.

    Args:
        model: A model for `mlsecops.adapters.adapt`, or an Adapter.
        input_shape: Shape of one input.
        classes: Number of classes `k`, ≥ 2.
        bounds: Smallest and largest value of an input, or None.
        predicts: `"probabilities"` for attacks that demand them (SimBA, NewtonFool).

    Returns:
        An estimator with gradients if the Adapter has them, else one for black-box attacks.

    Raises:
        UsageError: The model cannot be adapted, or there are fewer than two classes.
        MissingExtra: ART is not installed.
    """
    whole("classes", classes, "at least 2", least=2)
    adapter = adapt(model)
    made = _art_class(_Network if adapter.differentiable else _Classifier)(
        model=adapter.model,
        clip_values=bounds,
        **({"channels_first": adapter.channels_first} if adapter.differentiable else {}),
    )
    made.adapter, made.nb_classes, made.shape = adapter, classes, tuple(input_shape)
    made.predicts = one_of("predicts", predicts, ("logits", "probabilities"))
    return made


class _Classifier:
    layer_names = ("features",)
    adapter: Adapter
    nb_classes: int
    shape: tuple[int, ...]
    predicts: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.shape

    def predict(self, x: Any, **_: Any) -> Array:
        if self.predicts == "probabilities":
            return self.adapter.predict(x)
        return _log_softmax(self.adapter.logits(x))

    def get_activations(self, x: Any, layer: int | str, **_: Any) -> Array:
        if layer not in {-1, 0, "features"}:
            raise UsageError(f"layer: expected 0, the penultimate layer, got {layer!r}")
        return self.adapter.features(x)

    def fit(self, x: Any, y: Any, **_: Any) -> None:
        raise UsageError(
            f"fit: an estimator of an Adapter cannot be trained ({len(x)} inputs, {len(y)} "
            "labels); train the model with its framework"
        )


class _Network(_Classifier):
    def loss_gradient(self, x: Any, y: Any, **_: Any) -> Array:
        """Gradient `(n, *shape)` of each input's cross-entropy; y is labels or one-hot rows."""
        return self.adapter.loss_gradient(x, _labels(y))[1]

    def class_gradient(self, x: Any, label: Any = None, **_: Any) -> Array:
        """Gradients of log-probabilities: of all classes, or of one class for each input."""
        import numpy as np  # noqa: PLC0415 - only where arrays are made

        if label is not None:
            wanted = np.full(len(x), label, dtype=np.int64)
            # A log-probability is minus the cross-entropy of its class.
            return -self.adapter.loss_gradient(x, wanted)[1][:, None]
        each = [
            -self.adapter.loss_gradient(x, np.full(len(x), number))[1]
            for number in range(self.nb_classes)
        ]
        return np.stack(each, axis=1)

    def compute_loss(self, x: Any, y: Any, reduction: str = "none", **_: Any) -> Any:
        losses = -_log_softmax(self.adapter.logits(x))[range(len(x)), _labels(y)]
        return losses if reduction == "none" else getattr(losses, reduction)()


@contextlib.contextmanager
def seeded(seed: int | list[int]) -> Iterator[None]:
    """Seed numpy's global generator, which ART uses, for the duration of the block."""
    random = cast("Any", require("numpy").random)
    before = random.get_state()
    random.seed(seed)
    try:
        yield
    finally:
        random.set_state(before)


@cache
def _art_class(ours: type) -> Any:
    """`AdapterClassifier` or `AdapterNetwork`; its ART bases exist only once ART is imported."""
    art, mixins = require("art.estimators"), require("art.estimators.classification.classifier")
    bases: tuple[type, ...] = (mixins.ClassifierMixin, art.BaseEstimator)
    if ours is _Network:
        losses = (art.LossGradientsMixin, art.NeuralNetworkMixin)
        bases = (mixins.ClassGradientsMixin, bases[0], *losses, bases[1])
    made = types.new_class(f"Adapter{ours.__name__[1:]}", (ours, *bases))
    made.__module__ = __name__
    return made


def _labels(y: Any) -> Labels:
    import numpy as np  # noqa: PLC0415 - only where arrays are made

    rows: NDArray[np.generic] = np.asarray(y)
    return cast("Labels", (rows.argmax(axis=1) if rows.ndim > 1 else rows).astype(np.int64))


def _log_softmax(logits: Array) -> Array:
    import numpy as np  # noqa: PLC0415 - only where arrays are made

    shifted = logits - logits.max(axis=1, keepdims=True)
    return cast("Array", shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
