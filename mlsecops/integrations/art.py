"""How the Adversarial Robustness Toolbox sees a model of ours.

An Adapter goes into `estimator`, one of the toolbox's estimators comes out: whatever the
toolbox offers for a classifier (attacks, metrics, detectors) runs on it, on any framework that has
an Adapter, Keras on torch included.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from mlsecops._extras import require
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels


def estimator(
    model: Any,
    *,
    input_shape: Sequence[int],
    classes: int,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Any:
    """Make one of the toolbox's classifiers from a model or Adapter.

    Its predictions are log-probabilities, which the toolbox's attacks take for logits.

    Args:
        model: What `mlsecops.adapters.adapt` takes, or an Adapter.
        input_shape: Shape of one input.
        classes: Number of classes `k`, at least 2.
        bounds: Smallest and largest value of an input; None for none.

    Returns:
        An estimator with gradients where the Adapter has them, else one for black-box attacks.

    Raises:
        UsageError: The model cannot be adapted, or there are fewer than two classes.
        MissingExtra: The toolbox is not installed.
    """
    if classes < 2:  # noqa: PLR2004 - a classifier tells at least two classes apart
        raise UsageError(f"classes: expected at least 2, got {classes}")
    adapter = adapt(model)
    kind = _white_box() if adapter.differentiable else _black_box()
    made = kind(
        model=adapter.model,
        clip_values=bounds,
        **({"channels_first": adapter.channels_first} if adapter.differentiable else {}),
    )
    made.adapter, made.nb_classes, made.shape = adapter, classes, tuple(input_shape)
    return made


class _Scores:
    """What every estimator answers: log-probabilities and activations, and no training."""

    layer_names = ("features",)
    adapter: Adapter
    nb_classes: int
    shape: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.shape

    def predict(self, x: Any, **_: Any) -> Array:
        """Log-probabilities `(n, k)`."""
        return _log_softmax(self.adapter.logits(x))

    def get_activations(self, x: Any, layer: int | str, **_: Any) -> Array:
        """Penultimate activations `(n, d)`, under any name but an output's."""
        if layer not in {-1, 0, "features"}:
            raise UsageError(f"layer {layer!r}: an Adapter shows only its penultimate one, 0")
        return self.adapter.features(x)

    def fit(self, x: Any, y: Any, **_: Any) -> None:
        """Refuse: the model that is judged is not the one to train."""
        raise UsageError(
            f"an estimator of an Adapter is not trained ({len(x)} inputs, {len(y)} labels): "
            "train the model itself, with its framework"
        )


class _Gradients(_Scores):
    """What an estimator with gradients answers besides."""

    def loss_gradient(self, x: Any, y: Any, **_: Any) -> Array:
        """Gradient `(n, *shape)` of each input's cross-entropy; y is labels or one-hot rows."""
        return self.adapter.loss_gradient(x, _labels(y))[1]

    def class_gradient(self, x: Any, label: Any = None, **_: Any) -> Array:
        """Gradients of log-probabilities, of every class or of one for each input.

        The gradient of a class's log-probability is minus that of its cross-entropy.
        """
        import numpy as np  # noqa: PLC0415 - only where arrays are made

        if label is not None:
            wanted = np.full(len(x), label, dtype=np.int64)
            return -self.adapter.loss_gradient(x, wanted)[1][:, None]
        each = [
            -self.adapter.loss_gradient(x, np.full(len(x), number))[1]
            for number in range(self.nb_classes)
        ]
        return np.stack(each, axis=1)

    def compute_loss(self, x: Any, y: Any, reduction: str = "none", **_: Any) -> Any:
        """Cross-entropy of each input `(n,)`, or their mean or sum."""
        losses = -self.predict(x)[range(len(x)), _labels(y)]
        return losses if reduction == "none" else getattr(losses, reduction)()


@contextlib.contextmanager
def seeded(seed: int | list[int]) -> Iterator[None]:
    """Numpy's global generator, which the toolbox draws from, seeded for the time of the block."""
    random = cast("Any", require("numpy").random)
    before = random.get_state()
    random.seed(seed)
    try:
        yield
    finally:
        random.set_state(before)


@cache
def _black_box() -> Any:
    base = require("art.estimators")
    mixin = require("art.estimators.classification.classifier")
    return _kind("AdapterClassifier", _Scores, mixin.ClassifierMixin, base.BaseEstimator)


@cache
def _white_box() -> Any:
    base = require("art.estimators")
    mixin = require("art.estimators.classification.classifier")
    return _kind(
        "AdapterNetwork",
        _Gradients,
        mixin.ClassGradientsMixin,
        mixin.ClassifierMixin,
        base.LossGradientsMixin,
        base.NeuralNetworkMixin,
        base.BaseEstimator,
    )


def _kind(name: str, *bases: type) -> Any:
    """A class of ours and the toolbox's: those are known only once the toolbox is imported."""
    made = types.new_class(name, bases)
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
