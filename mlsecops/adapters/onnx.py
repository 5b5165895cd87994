"""ONNX Adapter: scores from ONNX Runtime, no gradients."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.output_form import as_logits, found_form, width_of
from mlsecops.adapters.base import (
    BATCH,
    BlackBox,
    FrameworkAdapter,
    float_rows,
    in_batches,
    require_cpu,
    require_width,
)
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array

_FLOATS: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
}
_INTEGERS: Final = {
    f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""Types of token ids and bytes. Source: ONNX `TypeProto`, as ONNX Runtime spells it."""
_ENDS: Final = {
    "Softmax": "softmax", "LogSoftmax": "log-softmax", "Sigmoid": "sigmoid", "Gemm": "affine",
    "MatMul": "affine", "Conv": "affine",
}  # fmt: skip
_MOVES: Final = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"})
"""Types of nodes. Source: ONNX, operators of the default domain."""
_ERRORS_ONLY: Final = 3  # log severity; ONNX Runtime, SessionOptions.log_severity_level


@concise_repr("model")
class OnnxAdapter(FrameworkAdapter, BlackBox):
    """An ONNX model with one input and scores of classes, on the CPU.

    The model is an `onnx.ModelProto` below 2 GiB or an `onnxruntime.InferenceSession`.

    The form of the answers is found out on the first batch (option `output` of `adapt`); a
    callable gets the outputs as a tuple that also takes their names. A list of mappings from class
    to probability, as converted scikit-learn models return, is read too, and names the classes.

    Attributes:
        classes_: Names of the classes, if the model returns them; else None.
    """

    classes_: NDArray[Any] | None = None

    framework = "onnx"
    name = "an ONNX model"
    _channels_first = True

    def _prepare(self, device: str | None) -> None:
        require_cpu(device, what="ONNX models")
        model = self.model
        self._session = _session(model) if hasattr(model, "SerializeToString") else model
        self._input = _one_input(self._session)
        self._outputs = [each.name for each in self._session.get_outputs()]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the model and the options."""
        return partial(type(self), **self.options), (self.model,), {"_form": self._form}

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`, or log-probabilities if the model returns probabilities."""
        return in_batches(self._batch, self._rows(x), size=self._size)

    def _rows(self, x: Any) -> Array:
        """Inputs of the type that the model declares."""
        wanted = _FLOATS.get(self._input.type)
        if wanted is not None:
            return float_rows(x).astype(wanted, copy=False)
        given, wanted = np.asarray(x), _INTEGERS[self._input.type]
        rows = given.astype(wanted)
        if given.ndim < 2 or not np.array_equal(rows, given):  # noqa: PLR2004 - rows
            raise UsageError(
                f"the ONNX model takes {wanted} of shape (n, *shape): expected integers (token "
                f"ids, bytes) in its range, got {given.dtype} of shape {given.shape}"
            )
        return cast("Array", rows)

    @property
    def _size(self) -> int:
        first = self._input.shape[0] if self._input.shape else None
        return first if isinstance(first, int) and first > 0 else BATCH

    def _batch(self, rows: Array) -> Array:
        fixed = bool(self._input.shape) and isinstance(self._input.shape[0], int)
        given = rows
        if fixed and len(rows) < self._size:
            padding = np.zeros((self._size - len(rows), *rows.shape[1:]), dtype=rows.dtype)
            given = np.concatenate([rows, padding])
        with self._answering(rows):
            found = self._session.run(None, {self._input.name: given})
        scores = self._scores(self._named(found), rows=len(rows), padded=len(given))
        require_width(scores.shape, self._classes)
        return scores

    def _named(self, outputs: list[Any]) -> NamedOutputs:
        """The outputs, with mappings from class to probability as arrays."""
        found = []
        for value in outputs:
            mappings = isinstance(value, list) and value and isinstance(value[0], dict)
            if mappings:
                self.classes_ = np.asarray(list(value[0]))
                value = np.asarray([list(each.values()) for each in value], np.float32)  # noqa: PLW2901 - another view of it
            found.append(value)
        return NamedOutputs(self._outputs, found)

    def _scores(self, outputs: NamedOutputs, *, rows: int, padded: int) -> Array:
        """Logits of the first `rows` of a padded batch."""
        form = self._form
        member = form.member if form else self._request.member(outputs.by_name, rows=padded)
        output = self._request.take(outputs if self._request.pick else outputs.by_name, member)
        width = width_of(output.shape, rows=padded)
        scores = np.asarray(output, np.float32).reshape(padded, width)[:rows]
        if form is None:
            last = _last_operation(self.model, member)
            form = found_form(scores, self._request, last=last, member=member)
            self._form = form if rows else None
        return as_logits(scores, form)


class NamedOutputs(tuple[Any, ...]):  # noqa: SLOT001 - a tuple has no slots for names
    """Outputs of a model, by place and by name."""

    names: list[str]

    def __new__(cls, names: list[str], values: list[Any]) -> Self:
        """The outputs in the model's order."""
        made = super().__new__(cls, values)
        made.names = names
        return made

    def __getitem__(self, key: Any) -> Any:
        """An output by its place or its name."""
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    @property
    def by_name(self) -> dict[str, Any]:
        """The outputs by name."""
        return dict(zip(self.names, self, strict=True))


def _last_operation(model: Any, output: str | None) -> str | None:
    """Last operation of a graph behind an output; of a session nothing is known."""
    graph = getattr(model, "graph", None)
    if graph is None or output is None:
        return None
    made = {name: node for node in graph.node for name in node.output}
    node = made.get(output)
    for _ in range(len(graph.node)):
        if node is None or node.op_type not in _MOVES:
            break
        node = made.get(node.input[0])
    return _ENDS.get(node.op_type) if node is not None else None


def _session(model: Any) -> Any:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # neither protobuf nor the runtime has a common error
        raise UsageError(f"ONNX Runtime cannot run the model: {error}") from error


def _one_input(session: Any) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _FLOATS | _INTEGERS:
        got = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise UsageError(f"ONNX model: expected one input of numbers, got {got or 'none'}")
    return inputs[0]
