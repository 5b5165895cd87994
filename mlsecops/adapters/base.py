"""Adapter protocol: one numpy view of every framework's classifier.

model → `adaptation.adapt` → Adapter → float32 scores, gradients and activations
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    TypeAlias,
    cast,
    runtime_checkable,
)

from mlsecops.adapters.answers.output_form import OutputForm, OutputRequest
from mlsecops.errors import MLSecOpsError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlsecops.adapters.answers.output_form import Output

    Array: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int64]

Cotangent: TypeAlias = "Callable[[Array], Array]"


@runtime_checkable
class Adapter(Protocol):
    """A classifier of any framework.

    Batches are `(n, *shape)` float32 inputs, or integers (token ids, bytes) where the model takes
    them, which stay integers and have no gradients; labels are `(n,)` integers in `[0, k)`. Every
    call runs in evaluation mode and leaves the model unchanged.

    Attributes:
        framework: `"torch"`, `"keras"`, `"sklearn"`, `"onnx"` or another.
        model: The framework's own object.
        channels_first: Whether image batches are `(n, c, h, w)`; set, never inferred.
        differentiable: Whether `loss_gradient` works.
    """

    framework: str
    model: Any
    channels_first: bool
    differentiable: bool

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)` (log-probabilities if a model has only those)."""

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""

    def features(self, x: Array) -> Array:
        """Penultimate activations `(n, d)`."""


@runtime_checkable
class Pullback(Protocol):
    """Optional method of an Adapter: the gradient of any loss, not only of the cross-entropy.

    Without it an attack calls `loss_gradient` once per class that its loss depends on.
    """

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits `(n, k)` and each input's gradient of `sum(logits * cotangent(logits))`.

        Args:
            x: Inputs `(n, *shape)`.
            cotangent: Derivative of the loss by the logits `(n, k)`, treated as constant.
        """


@runtime_checkable
class Portable(Protocol):
    """Optional methods of an Adapter: the model's weights as bytes without code.

    `mlsecops.loading.SecureLoader` checks where such bytes come from; `decode` itself does not.
    """

    def encode(self) -> bytes:
        """The weights: safetensors (torch), `.weights.h5` (Keras), skops (scikit-learn)."""

    def decode(self, data: bytes) -> None:
        """Replace all weights by those that `encode` wrote, or none.

        Raises:
            FormatRefused: They do not fit; the model is unchanged.
        """


Precision: TypeAlias = Literal["bfloat16", "float16"]
_REASON: Final = 500  # characters of a framework's own message; chosen
BATCH: Final = 256  # samples per call of a model; chosen: bounds the memory of one call


def held(adapter: Any) -> contextlib.AbstractContextManager[None]:
    """Context in which a model stays on its device and in evaluation mode between calls."""
    while not hasattr(adapter, "held") and hasattr(adapter, "inner"):
        adapter = adapter.inner
    return cast(
        "contextlib.AbstractContextManager[None]",
        adapter.held() if hasattr(adapter, "held") else contextlib.nullcontext(),
    )


def batches(count: int, *, size: int = BATCH) -> Iterator[slice]:
    """Slices that cover `count` rows; one empty slice if there are none."""
    for start in range(0, max(count, 1), size):
        yield slice(start, min(start + size, count))


def in_batches(function: Callable[[Array], Array], x: Array, *, size: int = BATCH) -> Array:
    """Apply a function from `(b, *shape)` to `(b, …)` batch by batch and join the results."""
    import numpy as np  # noqa: PLC0415 - adapt() itself must not cost numpy's import

    parts = [function(x[rows]) for rows in batches(len(x), size=size)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def joined(parts: Sequence[tuple[Any, Array]]) -> tuple[Any, Array]:
    """Concatenate pairs of arrays along their rows."""
    import numpy as np  # noqa: PLC0415 - as above

    if len(parts) == 1:
        return parts[0]
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


class FrameworkAdapter(abc.ABC):
    """Base of the Adapters of framework models; the arguments are those of `adapt`."""

    framework: str
    _channels_first: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        *,
        channels_first: bool | None = None,
        device: str | None = None,
        classes: int | None = None,
        output: Output | None = None,
    ) -> None:
        self.model: Any = model
        self.channels_first = self._channels_first if channels_first is None else channels_first
        self.options: dict[str, Any] = {
            "channels_first": self.channels_first, "device": device, "classes": classes,
            "output": output,
        }  # fmt: skip
        self._classes = classes
        self._request = OutputRequest.of(output)
        self._form: OutputForm | None = None
        self._inputs: dict[str, Any] = {}
        self._prepare(device)

    @abc.abstractmethod
    def _prepare(self, device: str | None) -> None:
        """Get ready for calls on a device."""

    @property
    def output(self) -> str | None:
        """Form of the model's answers and how it is known; None before the first call."""
        return None if self._form is None else str(self._form)

    def require_output(self, request: OutputRequest) -> None:  # noqa: B027 - most refuse none
        """Refuse what `output=` says if this kind of model has no such answers."""

    @contextlib.contextmanager
    def _answering(self, x: Any) -> Iterator[None]:
        """Turn an exception of the framework, raised by the model, into a UsageError."""
        try:
            yield
        except (MLSecOpsError, MemoryError, NotImplementedError):
            raise
        except Exception as error:  # models raise what they like
            if type(error).__name__ == "OutOfMemoryError":
                raise
            raise UsageError(
                f"{type(self.model).__name__} refuses inputs shaped {tuple(x.shape)} of {x.dtype}: "
                f"{type(error).__name__}: {str(error)[:_REASON]}; expected inputs as it was "
                "trained on (order of axes, number of features, integers for token ids)"
            ) from error

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        return softmax(self.logits(x))

    @abc.abstractmethod
    def logits(self, x: Array) -> Array:
        """Scores `(n, k)` before the softmax."""


class TriedInputs(FrameworkAdapter):
    """Base of Adapters whose models do not say which type of numbers they take: it is tried."""

    @abc.abstractmethod
    def _call(self, batch: Any) -> object:
        """Run the model on a batch as it is."""

    def _rows(self, x: Any) -> Array:
        """Inputs for the model: integers as they are where it takes them, else float32."""
        import numpy as np  # noqa: PLC0415 - adapt() itself must not cost numpy's import

        given = np.asarray(x)
        if given.dtype.kind not in "iu" or given.ndim < 2 or not len(given):  # noqa: PLR2004 - rows
            return float_rows(given)
        kind = given.dtype.str
        if kind not in self._inputs:
            self._inputs[kind] = self._accepted(given[:1])
        return cast("Array", given.astype(self._inputs[kind], copy=False))

    def _accepted(self, row: Any) -> Any:
        """The first type of number that the model takes: the given one, int64, float32."""
        import numpy as np  # noqa: PLC0415 - as above

        refusals = []
        for kind in (row.dtype, np.dtype(np.int64), np.dtype(np.float32)):
            try:
                self._call(row.astype(kind))
            except Exception as error:  # noqa: BLE001 - models raise what they like
                refusals.append(f"as {kind}: {error}")
            else:
                return kind
        raise UsageError(
            f"{type(self.model).__name__}: cannot take inputs of {row.dtype} and shape "
            f"{row.shape[1:]}: expected token ids, bytes or numbers that fit the model; "
            + "; ".join(refusals)
        )

    def _float_rows(self, x: Any) -> Array:
        """Inputs that have gradients.

        Raises:
            UsageError: The model takes integers only, which have none.
        """
        rows = self._rows(x)
        if rows.dtype.kind not in "iu":
            return rows
        floats = float_rows(rows)
        try:
            self._call(floats[:1])
        except Exception as error:
            raise UsageError(
                f"{type(self.model).__name__} takes {rows.dtype} (token ids, bytes), which have no "
                "gradients: use an attack that needs only scores or labels"
            ) from error
        return floats


class BlackBox:
    """Base of Adapters without gradients and activations; error messages call the model `name`."""

    name: str
    differentiable = False

    def loss_gradient(self, x: Array, y: Labels) -> Any:
        """Not available: always raises a UsageError."""
        raise UsageError(
            f"{self.name} provides no gradients ({len(x)} inputs, {len(y)} labels): use an attack "
            "that needs only scores or labels (Square, HopSkipJump)"
        )

    def features(self, x: Array) -> Any:
        """Not available: always raises a UsageError."""
        raise UsageError(f"{self.name} provides no activations of its {len(x)} inputs")


def require_cpu(device: str | None, *, what: str) -> None:
    """Refuse any device but the CPU with a UsageError."""
    if device is not None and device != "cpu":
        raise UsageError(f"device: {what} run on the cpu, got {device!r}")


def float_rows(x: Any) -> Array:
    """Inputs as a float32 array with at least two axes, copied only if necessary."""
    import numpy as np  # noqa: PLC0415 - as above

    rows: Array = np.asarray(x, dtype=np.float32)
    if rows.ndim < 2:  # noqa: PLR2004 - a sample axis and at least one more
        raise UsageError(f"expected inputs of shape (n, *shape), got shape {rows.shape}")
    return rows


def cotangent_rows(cotangent: Cotangent, logits: Array) -> Array:
    """Result of a caller's cotangent, as contiguous float32 of the logits' shape."""
    import numpy as np  # noqa: PLC0415 - as above

    rows: Array = np.ascontiguousarray(cotangent(logits), dtype=np.float32)
    if rows.shape != logits.shape:
        raise UsageError(
            f"cotangent: expected the shape of the logits {logits.shape}, got {rows.shape}"
        )
    return rows


def class_labels(y: Any, *, rows: int) -> Labels:
    """Labels as `(n,)` int64, one integer for each input."""
    import numpy as np  # noqa: PLC0415 - as above

    labels = np.asarray(y)
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"expected {rows} integer labels of shape ({rows},), "
            f"got shape {labels.shape} of {labels.dtype}"
        )
    return cast("Labels", labels.astype(np.int64, copy=False))


def are_probabilities(rows: Any, *, tolerance: float = 1e-4) -> bool:
    """Whether rows `(n, k)` are non-negative and sum to 1 within the tolerance of float32 sums."""
    totals = rows.sum(axis=-1)
    return len(rows) > 0 and bool((rows >= 0).all() and (abs(totals - 1) < tolerance).all())


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
    """Refuse outputs that are not shaped `(n, k)` with a UsageError."""
    if len(shape) != 2 or (classes is not None and shape[1] != classes):  # noqa: PLR2004 - axes
        expected = "(n, k)" if classes is None else f"(n, {classes})"
        raise UsageError(f"model output: expected shape {expected}, got {tuple(shape)}")
