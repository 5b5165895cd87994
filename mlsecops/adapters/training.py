"""Training step for PyTorch and for Keras on any backend.

numpy batch → `Trainer.step` → mean cross-entropy; mode and compilation of the model are unchanged
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from mlsecops._extras import require
from mlsecops.adapters.adaptation import adapt
from mlsecops.adapters.base import are_probabilities
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels


class Trainer(Protocol):
    """Optimizer steps on the model of an Adapter."""

    adapter: Adapter

    def step(self, x: Array, y: Labels) -> float:
        """Take one step of Adam on `x` `(n, *shape)`, `y` `(n,)`; returns the loss before it."""


def trainer(model: Any, *, learning_rate: float) -> Trainer:
    """Create the trainer of a torch or Keras model with one score or probability for each class.

    Raises:
        UsageError: The model is of another framework, or a Keras model without known inputs.
    """
    adapter = adapt(model)
    kinds: Mapping[str, Callable[..., Trainer]] = {"torch": _TorchTrainer, "keras": _KerasTrainer}
    if adapter.framework not in kinds or not learning_rate > 0:
        raise UsageError(
            f"cannot train a {adapter.framework} model of type {type(adapter.model).__name__} with "
            f"a learning rate of {learning_rate}: expected torch or Keras, and a rate above 0"
        )
    return kinds[adapter.framework](adapter, learning_rate=learning_rate)


class _TorchTrainer:
    def __init__(self, adapter: Adapter, *, learning_rate: float) -> None:
        self.adapter = adapter
        self._torch: Any = require("torch")
        wanted = [each for each in adapter.model.parameters() if each.requires_grad]
        self._optimizer = self._torch.optim.Adam(wanted, lr=learning_rate)

    def step(self, x: Array, y: Labels) -> float:
        torch, model = self._torch, self.adapter.model
        like = next(model.parameters())
        inputs = torch.from_numpy(x).to(like.device, like.dtype)
        labels = torch.from_numpy(y).to(like.device)
        functional = torch.nn.functional
        modes = [(module, module.training) for module in model.modules()]
        try:
            model.train()
            with torch.enable_grad():
                self._optimizer.zero_grad()
                loss = functional.cross_entropy(self._scores(inputs), labels)
                loss.backward()
            self._optimizer.step()
        finally:
            for module, training in modes:
                module.training = training
            self._optimizer.zero_grad()
        return float(loss.detach())

    def _scores(self, inputs: Any) -> Any:
        adapter: Any = self.adapter
        return adapter.forward(inputs)


class _KerasTrainer:
    def __init__(self, adapter: Adapter, *, learning_rate: float) -> None:
        self.adapter = adapter
        self._keras: Any = require("keras")
        self._learning_rate = learning_rate
        self._twin: Any = None

    def step(self, x: Array, y: Labels) -> float:
        if self._twin is None:
            self._twin = self._compiled(x)
        return float(self._twin.train_on_batch(x, y))

    def _compiled(self, x: Array) -> Any:
        """A compiled model of the same layers; the caller's own compilation is unchanged."""
        keras, model = self._keras, self.adapter.model
        outputs = keras.ops.convert_to_numpy(model(x[:8], training=False))
        if not getattr(model, "inputs", None):
            raise UsageError(
                f"{type(model).__name__} has no known inputs: expected a Sequential or functional "
                "Keras model"
            )
        _require_scores(outputs)
        twin = keras.Model(model.inputs, model.outputs)
        twin.compile(
            optimizer=keras.optimizers.Adam(self._learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=not are_probabilities(outputs)
            ),
        )
        return twin


def _require_scores(value: Any) -> None:
    if value.ndim != 2 or value.shape[1] < 2:  # noqa: PLR2004 - (n, k), two classes or more
        raise UsageError(
            f"model: expected a score for each class, (n, k) with k >= 2, got {tuple(value.shape)}"
        )
