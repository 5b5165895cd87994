"""An ONNX classifier as an Adapter: ONNX Runtime inside, scores outside, no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from mlsecops._extras import require
from mlsecops.adapters.base import (
    batches,
    float_rows,
    log_probabilities,
    require_width,
    softmax,
)
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array, Labels

_FLOATS: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
}
_ERRORS_ONLY: Final = 3
_BATCH: Final = 256


class OnnxAdapter:
    """An ONNX model with one input and a score or probability for each class.

    Probabilities are told from scores by the first batch. Where a model has several outputs, as
    scikit-learn's converted ones have, the first table of floats is the one.

    Args:
        model: An `onnx.ModelProto` (below 2 GiB), or an `onnxruntime.InferenceSession`.
        channels_first: As `mlsecops.adapters.adapt`; True by default, as ONNX has it.
        device: Must be None or `"cpu"`.
        classes: As `mlsecops.adapters.adapt`.

    Raises:
        UsageError: It is no such model, the runtime refuses it, or another device is asked for.
        MissingExtra: ONNX Runtime is not installed.
    """

    framework = "onnx"
    differentiable = False

    def __init__(
        self,
        model: Any,
        *,
        channels_first: bool | None = None,
        device: str | None = None,
        classes: int | None = None,
    ) -> None:
        if device not in {None, "cpu"}:
            raise UsageError(f"ONNX models run on the cpu here, got device {device!r}")
        self.model = model
        self.channels_first = True if channels_first is None else channels_first
        self._classes = classes
        self._session = _session(model) if hasattr(model, "SerializeToString") else model
        self._input = _one_input(self._session)
        self._output: str | None = None
        self._gives_probabilities = False

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        return softmax(self.logits(x))

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`, or log-probabilities where the model gives probabilities."""
        import numpy as np  # noqa: PLC0415 - only where arrays are made

        rows = float_rows(x)
        parts = [self._batch(rows[part]) for part in batches(len(rows), size=self._size)]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return log_probabilities(scores) if self._gives_probabilities else scores

    def loss_gradient(self, x: Array, y: Labels) -> NoReturn:
        """Not available.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"an ONNX model gives no gradients ({len(x)} inputs, {len(y)} labels): use an attack "
            "that needs only scores or labels"
        )

    def features(self, x: Array) -> NoReturn:
        """Not available.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"an ONNX model shows no activations of its {len(x)} inputs")

    @property
    def _size(self) -> int:
        first = self._input.shape[0] if self._input.shape else None
        return first if isinstance(first, int) and first > 0 else _BATCH

    def _batch(self, rows: Array) -> Array:
        """Scores of a batch, which is filled up where the model insists on a size."""
        import numpy as np  # noqa: PLC0415 - as above

        fixed = bool(self._input.shape) and isinstance(self._input.shape[0], int)
        given = rows
        if fixed and len(rows) < self._size:
            filling = np.zeros((self._size - len(rows), *rows.shape[1:]), dtype=np.float32)
            given = np.concatenate([rows, filling])
        given = given.astype(_FLOATS[self._input.type], copy=False)
        names = None if self._output is None else [self._output]
        try:
            outputs = self._session.run(names, {self._input.name: given})
        except Exception as error:  # the runtime has no common error of its own
            raise UsageError(
                f"the ONNX model refuses inputs shaped {rows.shape}: {error}"
            ) from error
        scores = outputs[0] if names else self._chosen(outputs)
        require_width(scores.shape, self._classes)
        if scores.shape[1] < 2:  # noqa: PLR2004 - two classes
            raise UsageError("the ONNX model gives one column: expected one for each class")
        if names is None:
            sums = scores[: len(rows)].sum(axis=1)
            together = len(rows) > 0 and bool((abs(sums - 1) < 1e-4).all())  # noqa: PLR2004 - float32
            self._gives_probabilities = together and bool((scores >= 0).all())
            self._remember(outputs, scores)
        return cast("Array", np.asarray(scores[: len(rows)], dtype=np.float32))

    def _chosen(self, outputs: list[Any]) -> Any:
        """The first table of floats."""
        for value in outputs:
            if getattr(value, "ndim", 0) == 2 and value.dtype.kind == "f":  # noqa: PLR2004 - (n, k)
                return value
        raise UsageError(
            "the ONNX model has no output shaped (n, k) of floats: expected scores or "
            "probabilities (convert scikit-learn's with zipmap off)"
        )

    def _remember(self, outputs: list[Any], chosen: Any) -> None:
        place = next(index for index, value in enumerate(outputs) if value is chosen)
        self._output = self._session.get_outputs()[place].name


def _session(model: Any) -> Any:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # protobuf and the runtime raise what they will
        raise UsageError(f"ONNX Runtime cannot run the model: {error}") from error


def _one_input(session: Any) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _FLOATS:
        told = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise UsageError(f"expected an ONNX model with one input of floats, got: {told}")
    return inputs[0]
