"""Last operation of a torch module (softmax, sigmoid, linear …) and the tensor before it.

`LastOperation` watches one forward pass; output → name of the operation that made it, and its input

An attack that reads the logits before a softmax or sigmoid loses nothing to its saturation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDS: Final = {
    "softmax": "softmax", "log_softmax": "log-softmax", "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid", "special_expit": "sigmoid", "special_softmax": "softmax",
    "special_log_softmax": "log-softmax", "log_sigmoid": "log-sigmoid",
    "logsigmoid": "log-sigmoid", "tanh": "tanh", "tanh_": "tanh", "linear": "affine",
    "addmm": "affine", "mm": "affine",
    "matmul": "affine", "bmm": "affine", "einsum": "affine", "bilinear": "affine",
    "conv1d": "affine", "conv2d": "affine", "conv3d": "affine",
}  # fmt: skip
"""torch function → last operation."""
_SHAPES: Final = frozenset({
    "squeeze", "unsqueeze", "view", "reshape", "flatten", "ravel", "contiguous", "clone", "to",
    "float", "double", "half", "bfloat16", "view_as", "reshape_as", "type_as", "__getitem__",
    "select", "as_subclass",
})  # fmt: skip
"""torch functions that move values and change none."""
_NODES: Final = {
    "SoftmaxBackward": "softmax", "LogSoftmaxBackward": "log-softmax",
    "SigmoidBackward": "sigmoid", "TanhBackward": "tanh", "LogSigmoidBackward": "log-sigmoid",
    "AddmmBackward": "affine", "MmBackward": "affine", "BmmBackward": "affine",
    "ConvolutionBackward": "affine",
}  # fmt: skip
"""Autograd node → last operation, for modules whose calls cannot be watched (TorchScript)."""
_MOVES: Final = ("View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Clone", "ToCopy",
                 "Select", "Alias")  # fmt: skip
_FURTHEST: Final = 8  # autograd nodes; chosen: more than any chain of reshapes


class LastOperation(TorchFunctionMode):
    """Record of the operations that a forward pass may end in."""

    def __init__(self, *, affine: bool = True) -> None:
        super().__init__()
        self._affine = affine
        self._made: dict[int, tuple[str, Any, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a torch function, and remember its result if it may be the last."""
        given = kwargs or {}
        result = func(*args, **given)
        name = getattr(func, "__name__", "")
        ends = name in _ENDS and (self._affine or _ENDS[name] != "affine")
        if (ends or name in _SHAPES) and isinstance(result, Tensor):
            source = args[0] if args else given.get("input")
            before = source if isinstance(source, Tensor) and not name.endswith("_") else None
            self._made[id(result)] = (name, before, result)  # the result keeps its id taken
        return result

    def end(self, output: Tensor) -> tuple[str | None, Tensor | None]:
        """Last operation behind an output, and its input if that has the output's elements."""
        tensor, whole = output, True
        while id(tensor) in self._made:
            name, before, _ = self._made[id(tensor)]
            if name in _ENDS:
                known = whole and before is not None and before.shape == tensor.shape
                return _ENDS[name], before if known else None
            if before is None or before is tensor:
                break
            whole = whole and before.numel() == tensor.numel()
            tensor = before
        return _of_graph(output), None


def _of_graph(output: Tensor) -> str | None:
    """Last operation by autograd's record of the output."""
    node = output.grad_fn
    for _ in range(_FURTHEST):
        if node is None:
            return None
        name = node.name().rstrip("0123456789")
        if name in _NODES:
            return _NODES[name]
        if not name.startswith(_MOVES) or not node.next_functions:
            return None
        node = node.next_functions[0][0]
    return None
