"""What every framework's model looks like from here: numpy at the edge, the framework inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int64]

Cotangent: TypeAlias = "Callable[[Array], Array]"


@runtime_checkable
class Adapter(Protocol):
    """One view of a classifier, whatever framework it was built with.

    Batches are `(n, *shape)` float32 inputs; labels are `(n,)` integers in `[0, k)`.
    Every call runs in evaluation mode and leaves the model's mode, parameters and buffers as
    they were.

    Attributes:
        framework: `"torch"`, `"keras"`, `"sklearn"`, `"onnx"` or another.
        model: The framework's own object.
        channels_first: Whether image batches are `(n, c, h, w)`; stated, never inferred.
        differentiable: Whether `loss_gradient` works.
    """

    framework: str
    model: Any
    channels_first: bool
    differentiable: bool

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)` (log-probabilities where a model has only those)."""

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""

    def features(self, x: Array) -> Array:
        """Penultimate activations `(n, d)`."""


@runtime_checkable
class Pullback(Protocol):
    """What an Adapter may have besides: the gradient of any loss, not of the cross-entropy alone.

    An attack that needs it does without where it is missing, at the price of one
    `loss_gradient` for each class that its loss looks at.
    """

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits `(n, k)` and each input's gradient of `sum(logits * cotangent(logits))`.

        Args:
            x: Inputs `(n, *shape)`.
            cotangent: From logits `(n, k)`, of all inputs at once, to what their loss's
                derivative by the logits is, `(n, k)`; held constant.
        """


@runtime_checkable
class Portable(Protocol):
    """What an Adapter of a model in this process has besides: its weights as bytes without code.

    The bytes are those of a file that `mlsecops.loading.SecureLoader` loads once it is
    signed; `decode` itself asks nobody where its bytes come from.
    """

    def encode(self) -> bytes:
        """The weights: safetensors (torch), `.weights.h5` (Keras), skops (scikit-learn)."""

    def decode(self, data: bytes) -> None:
        """Take weights as `encode` writes them, all of them or none.

        Raises:
            FormatRefused: They do not fit; the model is as it was.
        """


BATCH: Final = 256
_HOMES: Final = (
    # Keras before torch: with Keras' torch backend a Keras model is a torch module too.
    ("keras", "Model", "mlsecops.adapters.tensorflow", "KerasAdapter"),
    ("torch.nn", "Module", "mlsecops.adapters.pytorch", "TorchAdapter"),
    ("sklearn.base", "BaseEstimator", "mlsecops.adapters.sklearn", "SklearnAdapter"),
    ("onnx", "ModelProto", "mlsecops.adapters.onnx", "OnnxAdapter"),
    ("onnxruntime", "InferenceSession", "mlsecops.adapters.onnx", "OnnxAdapter"),
)


def adapt(
    model: Any,
    *,
    channels_first: bool | None = None,
    device: str | None = None,
    classes: int | None = None,
) -> Adapter:
    """View a model through an Adapter, without importing a framework that is not in use.

    Args:
        model: A torch module, Keras model, scikit-learn classifier or ONNX model; an Adapter is
            returned as it is.
        channels_first: Whether images are `(n, c, h, w)`; by default the framework's own
            convention (torch yes, the others no).
        device: Where each call runs (`"cpu"`, `"cuda:1"`); by default where the model is.
            The model is moved there and back on every call. torch only.
        classes: Number of classes `k` to insist on; an output of another width is an error.

    Returns:
        The Adapter; nothing has run yet.

    Raises:
        UsageError: The model is of no known framework, or an option does not fit it.
    """
    if isinstance(model, Adapter):
        return model
    for module, base, home, name in _HOMES:
        kind = getattr(sys.modules.get(module), base, None)
        if isinstance(kind, type) and isinstance(model, kind):
            view = getattr(import_module(home), name)
            return cast(
                "Adapter",
                view(model, channels_first=channels_first, device=device, classes=classes),
            )
    raise UsageError(
        f"cannot adapt {type(model).__module__}.{type(model).__qualname__}: expected a torch "
        "module, a Keras model, a scikit-learn classifier, an ONNX model, or an object "
        "with the Adapter's methods"
    )


def batches(count: int, *, size: int = BATCH) -> Iterator[slice]:
    """Slices that cover `count` rows; one empty slice when there are none."""
    for start in range(0, max(count, 1), size):
        yield slice(start, min(start + size, count))


def in_batches(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply a function batch by batch and join the results.

    Args:
        function: `(b, *shape)` to `(b, …)`.
        x: Inputs `(n, *shape)`.
    """
    import numpy as np  # noqa: PLC0415 - adapt() itself must not cost numpy's import

    parts = [function(x[rows]) for rows in batches(len(x))]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def float_rows(x: Any) -> Array:
    """Inputs as a float32 array with at least two axes, copied only if it is not one already.

    Raises:
        UsageError: They have no sample axis.
    """
    import numpy as np  # noqa: PLC0415 - as above

    rows: Array = np.asarray(x, dtype=np.float32)
    if rows.ndim < 2:  # noqa: PLR2004 - a sample axis and at least one more
        raise UsageError(f"expected inputs of shape (n, *shape), got shape {rows.shape}")
    return rows


def cotangent_rows(cotangent: Cotangent, logits: Array) -> Array:
    """What a caller's cotangent makes of logits, as contiguous float32 of their shape.

    Raises:
        UsageError: It has another shape.
    """
    import numpy as np  # noqa: PLC0415 - as above

    rows: Array = np.ascontiguousarray(cotangent(logits), dtype=np.float32)
    if rows.shape != logits.shape:
        raise UsageError(
            f"cotangent: expected the shape of the logits {logits.shape}, got {rows.shape}"
        )
    return rows


def class_labels(y: Any, *, rows: int) -> Labels:
    """Labels as `(n,)` int64.

    Raises:
        UsageError: They are not one integer for each input.
    """
    import numpy as np  # noqa: PLC0415 - as above

    labels = np.asarray(y)
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"expected {rows} integer labels of shape ({rows},), "
            f"got shape {labels.shape} of {labels.dtype}"
        )
    return cast("Labels", labels.astype(np.int64, copy=False))


def softmax(logits: Array) -> Array:
    """Probabilities `(n, k)` of logits `(n, k)`."""
    import numpy as np  # noqa: PLC0415 - as above

    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return cast("Array", shifted / shifted.sum(axis=1, keepdims=True))


def log_probabilities(probabilities: Array) -> Array:
    """Logarithms `(n, k)`, with the smallest float32 in place of zero."""
    import numpy as np  # noqa: PLC0415 - as above

    return cast("Array", np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))


def require_width(shape: Sequence[int], classes: int | None) -> None:
    """Insist on outputs of shape `(n, k)`.

    Raises:
        UsageError: They have another.
    """
    if len(shape) != 2 or (classes is not None and shape[1] != classes):  # noqa: PLR2004 - axes
        expected = "(n, k)" if classes is None else f"(n, {classes})"
        raise UsageError(
            f"expected the model's output to have shape {expected}, got {tuple(shape)}"
        )
