"""Calls of a Keras model on each backend: TensorFlow graphs, torch autograd, or answers alone.

model, first batch → `settle` → OutputForm → logits, gradients and features of batches
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mlsecops._extras import require
from mlsecops.adapters.answers.output_form import found_form, width_of
from mlsecops.adapters.base import cotangent_rows
from mlsecops.adapters.pytorch import slope
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.answers.output_form import OutputForm, OutputRequest
    from mlsecops.adapters.base import Array, Cotangent, Labels


class KerasEngine:
    """Calls of a model on one Keras backend; this one knows no gradients."""

    def __init__(self, keras: Any, model: Any, request: OutputRequest, like: Array) -> None:
        self._keras = keras
        self._model = model
        self._request = request
        self._form: Any = None
        self._penultimate = _penultimate(keras, model) or _no_features
        self._shape, self._type = like.shape[1:], like.dtype.name

    def settle(
        self, x: Array, form: OutputForm | None, answering: Callable[[Any], Any]
    ) -> OutputForm:
        """Form of the answers: the one that is known, or the one found on a first batch."""
        with answering(x):
            answer, end = self._watched(x)
        if form is None:
            member = self._request.member(answer, rows=len(x))
            output = self._request.take(answer, member)
            scores = self._out(output)
            rows = scores.reshape(len(x), width_of(scores.shape, rows=len(x)))
            form = found_form(rows, self._request, last=end(output, member), member=member)
        self._form = form
        self._compile()
        return form

    def _watched(self, x: Array) -> tuple[Any, Callable[[Any, str | None], str | None]]:
        """The model's answer to a first batch, and how to name its last operation."""
        return self._answer(self._keras.ops.convert_to_tensor(x)), lambda _, __: None

    def _compile(self) -> None:
        """Prepare for calls with answers of a known form."""

    def _answer(self, x: Any) -> Any:
        return self._model(x, training=False)

    def _scores(self, x: Any) -> Any:
        """Logits of a batch, in the backend's own operations."""
        output = self._request.take(self._answer(x), self._form.member)
        return self._logits(output, self._before(output))

    def _before(self, _: Any) -> Any:
        """Input of the last operation, where the backend shows it."""
        return None

    def _logits(self, output: Any, before: Any) -> Any:
        ops, form = self._keras.ops, self._form
        kind = form.form
        if before is not None and form.reads_before:
            output, kind = before, ("logit" if form.width == 1 else "logits")
        scores = ops.cast(ops.reshape(output, (-1, form.width)), "float32")
        if kind == "probabilities":
            return ops.log(ops.maximum(scores, _TINY))
        if kind == "probability":
            return ops.log(ops.maximum(ops.concatenate([1 - scores, scores], axis=1), _TINY))
        if kind == "log-probability":
            other = ops.log(ops.maximum(-ops.expm1(scores), _TINY))
            return ops.concatenate([other, scores], axis=1)
        if kind == "logit":
            return ops.concatenate([ops.zeros_like(scores), scores], axis=1)
        return scores

    def logits(self, x: Array) -> Array:
        """Logits `(n, k)` of a batch."""
        return self._out(self._scores(self._keras.ops.convert_to_tensor(x)))

    def features(self, x: Array) -> Array:
        """Input of the last layer with weights, `(n, d)`."""
        hidden = self._out(self._penultimate(self._keras.ops.convert_to_tensor(x)))
        return hidden.reshape(len(x), -1)

    def gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""
        raise self._no_gradients(f"{len(x)} inputs, {len(y)} labels")

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss."""
        raise self._no_gradients(f"{len(x)} inputs, cotangent {cotangent!r}")

    def _no_gradients(self, call: str) -> UsageError:
        backend = self._keras.config.backend()
        return UsageError(
            f"no gradients on Keras' {backend} backend ({call}): expected tensorflow or torch"
        )

    def _out(self, value: Any) -> Array:
        return cast("Array", np.asarray(self._keras.ops.convert_to_numpy(value), np.float32))


class _TensorFlow(KerasEngine):
    """TensorFlow graphs with an open batch axis, so that a new batch size does not retrace."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tf: Any = require("tensorflow")
        self._rows = self._tf.TensorSpec([None, *self._shape], self._tf.as_dtype(self._type))

    def _watched(self, x: Array) -> tuple[Any, Callable[[Any, str | None], str | None]]:
        def last(_: Any, member: str | None) -> str | None:
            seen: list[str | None] = []

            def traced(rows: Any) -> Any:
                output = self._request.take(self._answer(rows), member)
                seen.append(_graph_end(output)[0])
                return output

            graph = self._tf.function(traced, input_signature=[self._rows], autograph=False)
            graph.get_concrete_function()
            return seen[0]

        return super()._watched(x)[0], last

    def _before(self, output: Any) -> Any:
        return _graph_end(output)[1]

    def _compile(self) -> None:
        tf, rows = self._tf, self._rows
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


class _Torch(KerasEngine):
    def _watched(self, x: Array) -> tuple[Any, Callable[[Any, str | None], str | None]]:
        with self._tail()() as tail:
            answer = super()._watched(x)[0]
        return answer, lambda output, _: cast("str | None", tail.end(output)[0])

    def _scores(self, x: Any) -> Any:
        if not self._form.reads_before:
            return super()._scores(x)
        with self._tail()(affine=False) as tail:
            output = self._request.take(self._answer(x), self._form.member)
        return self._logits(output, tail.end(output)[1])

    @staticmethod
    def _tail() -> Any:
        return import_module("mlsecops.adapters.answers.torch_tail").LastOperation

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


_TINY: Final = 1e-37  # probability; the smallest that float32 holds with all its digits
_ENDS: Final = {"Softmax": "softmax", "LogSoftmax": "log-softmax", "Sigmoid": "sigmoid",
               "Tanh": "tanh"}  # fmt: skip
_MOVES: Final = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "Cast"})
_ADDITIONS: Final = frozenset({"AddV2", "Add", "BiasAdd"})
_AFFINE: Final = frozenset({"MatMul", "BatchMatMulV2", "Conv2D", "Einsum"})
"""Types of operations. Source: TensorFlow, `tf.raw_ops`."""
ENGINES: dict[str, type[KerasEngine]] = {"tensorflow": _TensorFlow, "torch": _Torch}


def _no_features(_: Any) -> Any:
    raise UsageError(
        "features of a subclassed Keras model: expected a Sequential or functional model"
    )


def _penultimate(keras: Any, model: Any) -> Callable[[Any], Any] | None:
    """Function from inputs to the input of the last layer with weights; None where it is hidden."""
    layers = _chain(keras, model)
    if not layers:
        return None
    head = next((layer for layer in reversed(layers) if layer.weights), layers[-1])
    try:
        hidden = keras.Model(model.inputs, head.input)
    except (ValueError, AttributeError):  # a nested model, whose input is of another graph
        return None
    return lambda x: hidden(x, training=False)


def _chain(keras: Any, model: Any) -> list[Any]:
    """Layers of a functional model from input to output, not descending into nested models."""
    if not getattr(model, "inputs", None) or len(model.outputs) != 1:
        return []
    layers = [item for item in model.layers if not isinstance(item, keras.layers.InputLayer)]
    final = model.outputs[0]
    last = [item for item in layers if item.output is final] if layers else []
    return layers if last and last[0] is layers[-1] else []


def _graph_end(tensor: Any) -> tuple[str | None, Any]:
    """Last operation of a TensorFlow graph behind a tensor, and its input; None outside a graph."""
    try:
        made = tensor.op
        while made.type in _MOVES:
            made = made.inputs[0].op
    except (AttributeError, IndexError):
        return None, None
    if made.type == "Neg" and made.inputs[0].op.type == "Softplus":  # log sigmoid(x)
        inner = made.inputs[0].op.inputs[0].op
        return "log-sigmoid", inner.inputs[0] if inner.type == "Neg" else None
    if made.type in _ADDITIONS:
        made = next((each.op for each in made.inputs if each.op.type in _AFFINE), made)
    if made.type in _AFFINE:
        return "affine", None
    return _ENDS.get(made.type), made.inputs[0] if made.type in _ENDS else None
