"""Keras Adapter for any backend, with gradients on TensorFlow and torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import (
    FrameworkAdapter,
    are_probabilities,
    batches,
    class_labels,
    cotangent_rows,
    in_batches,
    joined,
    require_width,
)
from mlsecops.adapters.keras_weights import fill_keras
from mlsecops.adapters.pytorch import slope
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Cotangent, Labels


@concise_repr("model", "_backend")
class KerasAdapter(FrameworkAdapter):
    """A Keras model as a classifier.

    If the model ends in a softmax (as its last layer, or as that layer's activation), the logits
    are its input; a subclassed model whose first batch holds probabilities yields
    log-probabilities. An unbuilt model is built by its first call. Keras places its models itself:
    `device` is None or `"cpu"`.
    """

    framework = "keras"

    def _prepare(self, device: str | None) -> None:
        if device not in {None, "cpu"}:
            raise UsageError(
                f"cannot move a Keras model to {device!r}: use the backend's device scope"
            )
        self._keras: Any = require("keras")
        self._backend: str = self._keras.config.backend()
        self.differentiable = self._backend in _ENGINES
        self._compiled: dict[str, _Engine] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the model and the options."""
        options = partial(type(self), channels_first=self.channels_first, classes=self._classes)
        return options, (self.model,)

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)`, or log-probabilities if they are not accessible."""
        rows = self._rows(x)
        engine = self._engine(rows)
        with self._undisturbed():
            logits = in_batches(engine.logits, rows)
        require_width(logits.shape, self._classes)
        return logits

    def features(self, x: Array) -> Array:
        """Input of the last layer with weights, flattened to `(n, d)`; not of subclassed models."""
        rows = self._rows(x)
        engine = self._engine(rows)
        with self._undisturbed():
            return in_batches(engine.features, rows)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""
        rows = self._float_rows(x)
        labels = class_labels(y, rows=len(rows))
        engine = self._engine(rows)
        with self._undisturbed():
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

    def _engine(self, x: Array) -> _Engine:
        if x.dtype.str not in self._compiled:
            if not self.model.built:
                self.model(x[:1], training=False)
            with self._undisturbed():
                scores, features = _parts(self._keras, self.model, x[:8])
            kind = _ENGINES.get(self._backend, _Engine)
            self._compiled[x.dtype.str] = kind(self._keras, scores, features, x)
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
                    item.assign(before)


class _Engine:
    def __init__(
        self,
        keras: Any,
        scores: Callable[[Any], Any],
        features: Callable[[Any], Any] | None,
        like: Array,
    ) -> None:
        self._keras = keras
        self._scores = scores
        self._penultimate = features or _no_features
        self._shape, self._type = like.shape[1:], like.dtype.name

    def logits(self, x: Array) -> Array:
        return self._out(self._scores(self._keras.ops.convert_to_tensor(x)))

    def features(self, x: Array) -> Array:
        hidden = self._out(self._penultimate(self._keras.ops.convert_to_tensor(x)))
        return hidden.reshape(len(x), -1)

    def gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        raise self._no_gradients(f"{len(x)} inputs, {len(y)} labels")

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        raise self._no_gradients(f"{len(x)} inputs, cotangent {cotangent!r}")

    def _no_gradients(self, call: str) -> UsageError:
        backend = self._keras.config.backend()
        return UsageError(
            f"no gradients on Keras' {backend} backend ({call}): expected tensorflow or torch"
        )

    def _out(self, value: Any) -> Array:
        return cast("Array", np.asarray(self._keras.ops.convert_to_numpy(value), np.float32))


class _TensorFlow(_Engine):
    """TensorFlow graphs with an open batch axis, so that a new batch size does not retrace."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        tf: Any = require("tensorflow")
        self._tf = tf
        rows = tf.TensorSpec([None, *self._shape], tf.as_dtype(self._type))
        labels = tf.TensorSpec([None], tf.int64)
        self._run = tf.function(self._scores, input_signature=[rows], autograph=False)
        self._hidden = tf.function(self._penultimate, input_signature=[rows], autograph=False)

        def gradient(x: Any, y: Any) -> tuple[Any, Any]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                logits = tf.cast(self._scores(x), tf.float32)
                loss = tf.reduce_sum(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
                )
            return logits, tape.gradient(loss, x, unconnected_gradients="zero")

        def pulled(x: Any) -> tuple[Any, Any]:
            # One graph with a numpy call between forward and backward: a quarter cheaper.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                logits = tf.cast(self._scores(x), tf.float32)
            along = tf.numpy_function(self._along, [logits], tf.float32)
            along.set_shape(logits.shape)
            return logits, tape.gradient(
                logits, x, output_gradients=along, unconnected_gradients="zero"
            )

        self._slope = tf.function(gradient, input_signature=[rows, labels], autograph=False)
        self._pulled = tf.function(pulled, input_signature=[rows], autograph=False)
        self._cotangent: Cotangent | None = None
        self._error: Exception | None = None

    def logits(self, x: Array) -> Array:
        return self._out(self._run(x))

    def features(self, x: Array) -> Array:
        return self._out(self._hidden(x)).reshape(len(x), -1)

    def gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        logits, found = self._slope(x, y)
        return self._out(logits), self._out(found)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        self._cotangent, self._error = cotangent, None
        try:
            logits, found = self._pulled(x)
        except self._tf.errors.OpError:
            if self._error is None:
                raise
            raise self._error from None
        return self._out(logits), self._out(found)

    def _along(self, logits: Array) -> Array:
        """Result of the caller's cotangent; its exception is kept, since TensorFlow loses it."""
        try:
            return cotangent_rows(cast("Cotangent", self._cotangent), logits)
        except Exception as error:
            self._error = error
            raise


class _Torch(_Engine):
    def logits(self, x: Array) -> Array:
        with require("torch").no_grad():
            return super().logits(x)

    def features(self, x: Array) -> Array:
        with require("torch").no_grad():
            return super().features(x)

    def gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        torch: Any = require("torch")
        with torch.enable_grad():
            leaf, scores = self._traced(x)
            labels = torch.from_numpy(y).to(scores.device)
            loss = torch.nn.functional.cross_entropy(scores.float(), labels, reduction="sum")
            found = slope(loss, leaf)
        return self._out(scores.detach()), self._out(found)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        torch: Any = require("torch")
        with torch.enable_grad():
            leaf, scores = self._traced(x)
            logits = self._out(scores.detach())
            along = torch.from_numpy(cotangent_rows(cotangent, logits)).to(scores)
            found = slope(scores, leaf, along)
        return logits, self._out(found)

    def _traced(self, x: Array) -> tuple[Any, Any]:
        leaf = self._keras.ops.convert_to_tensor(x).detach().clone().requires_grad_()
        return leaf, self._scores(leaf)


_ENGINES: dict[str, type[_Engine]] = {"tensorflow": _TensorFlow, "torch": _Torch}


def _no_features(_: Any) -> Any:
    raise UsageError(
        "features of a subclassed Keras model: expected a Sequential or functional model"
    )


def _parts(
    keras: Any, model: Any, sample: Array
) -> tuple[Callable[[Any], Any], Callable[[Any], Any] | None]:
    """Functions from inputs to logits and to penultimate activations, with shared weights."""
    layers = _chain(keras, model)
    if not layers:
        return _from_outputs(keras, model, sample), None
    tail = layers[-1]
    head = next((layer for layer in reversed(layers) if layer.weights), tail)
    hidden = keras.Model(model.inputs, head.input)
    if _is_softmax_layer(keras, tail):
        before = keras.Model(model.inputs, tail.input)
        return lambda x: before(x, training=False), lambda x: hidden(x, training=False)
    if tail is head and isinstance(head, keras.layers.Dense) and _softmaxed(keras, head):
        return (
            lambda x: _affine(keras, head, hidden(x, training=False)),
            lambda x: hidden(x, training=False),
        )
    return _from_outputs(keras, model, sample), lambda x: hidden(x, training=False)


def _chain(keras: Any, model: Any) -> list[Any]:
    """Layers of a functional model from input to output, not descending into nested models."""
    if not getattr(model, "inputs", None) or len(model.outputs) != 1:
        return []
    layers = [item for item in model.layers if not isinstance(item, keras.layers.InputLayer)]
    final = model.outputs[0]
    last = [item for item in layers if item.output is final] if layers else []
    return layers if last and last[0] is layers[-1] else []


def _softmaxed(keras: Any, layer: Any) -> bool:
    return getattr(layer, "activation", None) is keras.activations.softmax


def _is_softmax_layer(keras: Any, layer: Any) -> bool:
    return isinstance(layer, keras.layers.Softmax) or (
        isinstance(layer, keras.layers.Activation) and _softmaxed(keras, layer)
    )


def _affine(keras: Any, dense: Any, x: Any) -> Any:
    scores = keras.ops.matmul(x, dense.kernel)
    return scores if dense.bias is None else keras.ops.add(scores, dense.bias)


def _from_outputs(keras: Any, model: Any, sample: Array) -> Callable[[Any], Any]:
    ops = keras.ops
    outputs: Any = ops.convert_to_numpy(model(sample, training=False))
    if outputs.ndim == 2 and outputs.shape[-1] == 1:  # noqa: PLR2004 - one column for two classes
        return _two_columns(keras, model)
    if are_probabilities(outputs):
        return lambda x: ops.log(ops.maximum(model(x, training=False), 1e-37))
    return lambda x: model(x, training=False)


def _two_columns(keras: Any, model: Any) -> Callable[[Any], Any]:
    ops = keras.ops
    layers: Any = getattr(model, "layers", ())
    sigmoid = bool(layers) and getattr(layers[-1], "activation", None) is keras.activations.sigmoid

    def scores(x: Any) -> Any:
        one = model(x, training=False)
        if sigmoid:
            one = ops.log(ops.maximum(one, 1e-37)) - ops.log(ops.maximum(1 - one, 1e-37))
        return ops.concatenate([ops.zeros_like(one), one], axis=1)

    return scores
