"""Keras Adapter for any backend, with gradients on TensorFlow and torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import (
    BATCH,
    TriedInputs,
    batches,
    class_labels,
    in_batches,
    joined,
    require_width,
)
from mlsecops.adapters.keras_engines import ENGINES, KerasEngine
from mlsecops.adapters.keras_weights import fill_keras
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Cotangent, Labels


@concise_repr("model", "_backend")
class KerasAdapter(TriedInputs):
    """A Keras model as a classifier.

    The form of the answers is found out on the first batch (option `output` of `adapt`). On
    TensorFlow and torch the logits are read before a final softmax or sigmoid, in whatever layer
    or nested model it is. An unbuilt model is built by its first call. Keras places its models
    itself: `device` is None or `"cpu"`.
    """

    framework = "keras"

    def _prepare(self, device: str | None) -> None:
        self.written: set[str] = set()
        if device not in {None, "cpu"}:
            raise UsageError(
                f"cannot move a Keras model to {device!r}: use the backend's device scope"
            )
        self._keras: Any = require("keras")
        self._backend: str = self._keras.config.backend()
        self.differentiable = self._backend in ENGINES
        self._compiled: dict[str, KerasEngine] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the model and the options."""
        return partial(type(self), **self.options), (self.model,), {"_form": self._form}

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)`, or log-probabilities if they are not accessible."""
        rows = self._rows(x)
        engine = self._engine(rows)
        with self._undisturbed(), self._answering(rows):
            logits = in_batches(engine.logits, rows)
        require_width(logits.shape, self._classes)
        return logits

    def features(self, x: Array) -> Array:
        """Input of the last layer with weights, flattened to `(n, d)`; not of subclassed models."""
        rows = self._rows(x)
        engine = self._engine(rows)
        with self._undisturbed(), self._answering(rows):
            return in_batches(engine.features, rows)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""
        rows = self._float_rows(x)
        labels = class_labels(y, rows=len(rows))
        engine = self._engine(rows)
        with self._undisturbed(), self._answering(rows):
            parts = [engine.gradient(rows[part], labels[part]) for part in batches(len(rows))]
        logits, gradient = joined(parts)
        require_width(logits.shape, self._classes)
        return logits, gradient

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss; see `mlsecops.adapters.Pullback`."""
        rows = self._float_rows(x)
        engine = self._engine(rows)
        with self._undisturbed():
            logits, gradient = engine.pullback(rows, cotangent)
        require_width(logits.shape, self._classes)
        return logits, gradient

    def encode(self) -> bytes:
        """The built model's weights as `.weights.h5`; see `mlsecops.adapters.Portable`."""
        with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
            place = Path(folder, "model.weights.h5")
            self.model.save_weights(place)
            return place.read_bytes()

    def decode(self, data: bytes) -> None:
        """Load all weights from `.weights.h5` bytes, or none."""
        with tempfile.NamedTemporaryFile(prefix="mlsecops-") as place:
            place.write(data)
            place.flush()
            fill_keras(self.model, place.name, hdf5=True)

    def _call(self, batch: Array) -> object:
        with self._undisturbed():
            return self.model(self._keras.ops.convert_to_tensor(batch), training=False)

    def _engine(self, x: Array) -> KerasEngine:
        if x.dtype.str not in self._compiled:
            with self._answering(x):
                if not self.model.built:
                    self.model(x[:1], training=False)
            with self._undisturbed():
                kind = ENGINES.get(self._backend, KerasEngine)
                engine = kind(self._keras, self.model, self._request, x)
                self._form = engine.settle(x[:BATCH], self._form, self._answering)
            self._compiled[x.dtype.str] = engine
        return self._compiled[x.dtype.str]

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Restore non-trainable variables (statistics, counters) after the block."""
        convert = self._keras.ops.convert_to_numpy
        saved = [
            (item, np.array(convert(item.value))) for item in self.model.non_trainable_variables
        ]
        try:
            yield
        finally:
            for item, before in saved:
                if not np.array_equal(convert(item.value), before):
                    self.written.add(str(item.path))
                    item.assign(before)
