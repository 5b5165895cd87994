"""SavedModel Adapter: scores of a signature of a loaded TensorFlow SavedModel, and gradients.

object of `tf.saved_model.load` → its `serving_default` signature → scores `(n, k)`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.output_form import found_form, require_values, width_of
from mlsecops.adapters.base import (
    FrameworkAdapter,
    batches,
    class_labels,
    cotangent_rows,
    float_rows,
    in_batches,
    joined,
    require_cpu,
    require_width,
)
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Cotangent, Labels

SERVING: Final = "serving_default"
"""Source: TensorFlow, `saved_model/signature_constants.py`, `DEFAULT_SERVING_SIGNATURE_DEF_KEY`."""
_TINY: Final = 1e-37  # probability; the smallest that float32 holds with all its digits


@concise_repr("framework", "_name")
class SavedModelAdapter(FrameworkAdapter):
    """A loaded SavedModel whose serving signature has one numeric input and scores.

    Of several outputs, the first of floats with two axes is used. Features are not accessible.
    """

    framework = "tensorflow"
    differentiable = True

    def _prepare(self, device: str | None) -> None:
        require_cpu(device, what="SavedModels")
        self._tf: Any = require("tensorflow")
        signatures: Any = getattr(self.model, "signatures", None) or {}
        names = [SERVING] if SERVING in signatures else list(signatures)
        if len(names) != 1:
            got = ", ".join(sorted(signatures)) or "none"
            raise UsageError(
                f"SavedModel: expected a signature {SERVING!r}, or only one, got {got}"
            )
        self._run = signatures[names[0]]
        inputs: dict[str, Any] = self._run.structured_input_signature[1]
        if len(inputs) != 1 or not all(_numeric(each) for each in inputs.values()):
            got = ", ".join(f"{name} {each.dtype.name}" for name, each in inputs.items())
            raise UsageError(f"SavedModel: expected one input of numbers, got {got or 'none'}")
        self._name, self._spec = next(iter(inputs.items()))

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`, or log-probabilities if the model returns probabilities."""

        def run(batch: Array) -> Array:
            return cast("Array", self._scores(self._tf.constant(batch)).numpy())

        return in_batches(run, self._rows(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""
        rows = self._float_rows(x)
        labels = class_labels(y, rows=len(rows))
        return joined([self._slope(rows[part], labels[part]) for part in batches(len(rows))])

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss; see `mlsecops.adapters.Pullback`."""
        tf = self._tf
        leaf = tf.constant(self._float_rows(x))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaf)
            scores = self._scores(leaf)
        logits = scores.numpy()
        along = tf.constant(cotangent_rows(cotangent, logits))
        return logits, self._gradient(tape, scores, leaf, along)

    def features(self, x: Array) -> Array:
        """Not available: a graph has no layers."""
        raise UsageError(f"a SavedModel provides no activations of its {len(x)} inputs")

    def _rows(self, x: Any) -> Array:
        wanted = self._spec.dtype.as_numpy_dtype
        given = np.asarray(x)
        rows = given.astype(wanted)
        if not self._spec.dtype.is_integer:
            return cast("Array", float_rows(given).astype(wanted, copy=False))
        if given.ndim < 2 or not np.array_equal(rows, given):  # noqa: PLR2004 - rows
            raise UsageError(
                f"the SavedModel takes {self._spec.dtype.name} of shape (n, *shape): expected "
                f"integers (token ids, bytes), got {given.dtype} of shape {given.shape}"
            )
        return cast("Array", rows)

    def _float_rows(self, x: Any) -> Array:
        if self._spec.dtype.is_integer:
            raise UsageError(
                f"the SavedModel takes {self._spec.dtype.name} (token ids, bytes), which have no "
                "gradients: use an attack that needs only scores or labels"
            )
        return self._rows(x)

    def _slope(self, x: Array, y: Labels) -> tuple[Array, Array]:
        tf = self._tf
        leaf = tf.constant(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaf)
            scores = self._scores(leaf)
            loss = tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores)
            )
        return scores.numpy(), self._gradient(tape, loss, leaf, None)

    def _gradient(self, tape: Any, value: Any, leaf: Any, along: Any) -> Array:
        try:
            found = tape.gradient(value, leaf, output_gradients=along, unconnected_gradients="zero")
        except LookupError as error:  # saved with experimental_custom_gradients=False
            raise UsageError(
                f"the SavedModel has no gradients ({error}): use an attack that needs only scores "
                "or labels (Square, HopSkipJump)"
            ) from error
        return cast("Array", self._tf.cast(found, self._tf.float32).numpy())

    def _scores(self, x: Any) -> Any:
        tf, rows = self._tf, len(x)
        with self._answering(x):
            answer = self._run(**{self._name: x})
        member = self._form.member if self._form else self._request.member(answer, rows=rows)
        output = tf.cast(self._request.take(answer, member), tf.float32)
        width = width_of(output.shape, rows=rows)
        scores = tf.reshape(output, (rows, width))
        form = self._form or found_form(scores.numpy(), self._request, member=member)
        self._form = form if rows else None
        if width != form.width:
            raise UsageError(f"SavedModel: expected {form.width} columns as before, got {width}")
        require_values(scores.numpy(), form)
        logits = self._as_logits(scores, form.form)
        require_width(tuple(logits.shape), self._classes)
        return logits

    def _as_logits(self, scores: Any, kind: str) -> Any:
        tf = self._tf
        if kind == "probabilities":
            return tf.math.log(tf.maximum(scores, _TINY))
        if kind == "probability":
            return tf.math.log(tf.maximum(tf.concat([1 - scores, scores], axis=1), _TINY))
        if kind == "log-probability":
            other = tf.math.log(tf.maximum(-tf.math.expm1(scores), _TINY))
            return tf.concat([other, scores], axis=1)
        if kind == "logit":
            return tf.concat([tf.zeros_like(scores), scores], axis=1)
        return scores


def _numeric(spec: Any) -> bool:
    return bool(spec.dtype.is_floating or spec.dtype.is_integer)
