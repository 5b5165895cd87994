"""ONNX Adapter: scores from ONNX Runtime, no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import (
    BATCH,
    BlackBox,
    FrameworkAdapter,
    are_probabilities,
    float_rows,
    in_batches,
    log_probabilities,
    require_cpu,
    require_width,
)
from mlsecops.errors import UsageError

if TYPE_CHECKING:
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
_ERRORS_ONLY: Final = 3  # log severity; ONNX Runtime, SessionOptions.log_severity_level


@concise_repr("model")
class OnnxAdapter(FrameworkAdapter, BlackBox):
    """An ONNX model with one input and a score or probability for each class, on the CPU.

    The model is an `onnx.ModelProto` below 2 GiB or an `onnxruntime.InferenceSession`.

    The first batch shows whether the outputs are probabilities. Of several outputs, as converted
    scikit-learn models have, the first float array with two axes is used.
    """

    framework = "onnx"
    name = "an ONNX model"
    _channels_first = True

    def _prepare(self, device: str | None) -> None:
        require_cpu(device, what="ONNX models")
        model = self.model
        self._session = _session(model) if hasattr(model, "SerializeToString") else model
        self._input = _one_input(self._session)
        self._output: str | None = None
        self._gives_probabilities = False

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`, or log-probabilities if the model returns probabilities."""
        scores = in_batches(self._batch, self._rows(x), size=self._size)
        return log_probabilities(scores) if self._gives_probabilities else scores

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
        names = None if self._output is None else [self._output]
        try:
            outputs = self._session.run(names, {self._input.name: given})
        except Exception as error:  # the runtime has no common error
            raise UsageError(
                f"the ONNX model refuses inputs shaped {rows.shape}: {error}"
            ) from error
        scores = outputs[0] if names else self._chosen(outputs)
        require_width(scores.shape, self._classes)
        if scores.shape[1] < 2:  # noqa: PLR2004 - two classes
            raise UsageError("ONNX model output: expected a column for each class, got one column")
        if names is None:
            self._gives_probabilities = are_probabilities(scores[: len(rows)])
            place = next(i for i, value in enumerate(outputs) if value is scores)
            self._output = self._session.get_outputs()[place].name
        return cast("Array", np.asarray(scores[: len(rows)], dtype=np.float32))

    def _chosen(self, outputs: list[Any]) -> Any:
        for value in outputs:
            if getattr(value, "ndim", 0) == 2 and value.dtype.kind == "f":  # noqa: PLR2004 - (n, k)
                return value
        raise UsageError(
            "the ONNX model has no output shaped (n, k) of floats: expected scores or "
            "probabilities; convert scikit-learn models with zipmap off"
        )


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
