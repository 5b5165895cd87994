"""What every framework's model looks like from here: numpy at the edge, the framework inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int64]


@runtime_checkable
class Adapter(Protocol):
    """One view of a classifier, whatever framework it was built with.

    Batches are ``(n, *shape)`` float32 inputs; labels are ``(n,)`` integers in ``[0, k)``.
    Every call runs in evaluation mode and leaves the model's mode, parameters and buffers as
    they were.

    Attributes:
        framework: ``"torch"``, ``"keras"`` or ``"sklearn"``.
        model: The framework's own object.
        channels_first: Whether image batches are ``(n, c, h, w)``; stated, never inferred.
        differentiable: Whether ``loss_gradient`` works.
    """

    framework: str
    model: Any
    channels_first: bool
    differentiable: bool

    def predict(self, x: Array) -> Array:
        """Class probabilities ``(n, k)``, rows summing to 1."""

    def logits(self, x: Array) -> Array:
        """Scores before the softmax ``(n, k)`` (log-probabilities where a model has only those)."""

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits ``(n, k)`` and the gradient of each sample's own cross-entropy ``(n, *shape)``."""

    def features(self, x: Array) -> Array:
        """Penultimate activations ``(n, d)``."""
