"""PyTorch Adapter: numpy arrays in and out, autograd inside, the module unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

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
from mlsecops.adapters.torch_weights import fill_module
from mlsecops.errors import FormatRefused, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mlsecops.adapters.base import Array, Cotangent, Labels


@concise_repr("model", "_device")
class TorchAdapter(FrameworkAdapter):
    """A torch module as a classifier.

    The module may return logits, probabilities (of a final `Softmax`, or seen on the first batch),
    one column for two classes, a mapping or object with `logits`, or a tuple that begins with them.
    """

    framework = "torch"
    differentiable = True
    _channels_first = True

    def _prepare(self, device: str | None) -> None:
        self._torch: Any = require("torch")
        self._device = None if device is None else self._torch.device(device)
        self._gives_probabilities: bool | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the module and the options."""
        constructor = partial(
            type(self),
            channels_first=self.channels_first,
            device=None if self._device is None else str(self._device),
            classes=self._classes,
        )
        state = {"_gives_probabilities": self._gives_probabilities}
        return constructor, (self.model,), state

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)`."""
        return self._each_batch(self._forward, x)

    def features(self, x: Array) -> Array:
        """Input of the last `Linear` that runs, flattened to `(n, d)`."""
        return self._each_batch(self._penultimate, x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""
        rows = self._float_rows(x)
        labels = class_labels(y, rows=len(rows))
        with _undisturbed(self.model, self._device), self._torch.enable_grad():
            parts = [self._gradient(rows[part], labels[part]) for part in batches(len(rows))]
        return joined(parts)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss, of all of `x` in one batch; see `Pullback`."""
        rows = self._float_rows(x)
        with _undisturbed(self.model, self._device), self._torch.enable_grad():
            leaf = self._tensor(rows).requires_grad_()
            scores = self._forward(leaf.clone())
            logits = _numpy(scores)
            along = self._torch.from_numpy(cotangent_rows(cotangent, logits)).to(scores)
            gradient = slope(scores, leaf, along)
        return logits, _numpy(gradient)

    def encode(self) -> bytes:
        """The module's state as safetensors; see `mlsecops.adapters.Portable`."""
        writer = require("safetensors.torch")
        state: dict[str, Any] = dict(self.model.state_dict())
        if odd := sorted(name for name in state if not self._torch.is_tensor(state[name])):
            kind = type(self.model).__name__
            raise UsageError(f"{kind}: {odd[:5]} are no tensors, as safetensors needs")
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        return bytes(writer.save(plain))

    def decode(self, data: bytes) -> None:
        """Load a whole state from safetensors, or nothing."""
        reader = require("safetensors.torch")
        try:
            tensors = reader.load(data)
        except Exception as error:  # safetensors has no common error
            raise FormatRefused(f"safetensors cannot read the bytes: {error}") from error
        fill_module(self.model, tensors)

    def _each_batch(self, function: Callable[[Tensor], Tensor], x: Array) -> Array:
        def run(batch: Array) -> Array:
            # A copy: a module with in-place operations must not write into the caller's array.
            return _numpy(function(self._tensor(batch).clone()))

        rows = self._rows(x)
        with _undisturbed(self.model, self._device), self._torch.no_grad():
            return in_batches(run, rows)

    def _call(self, batch: Array) -> object:
        with _undisturbed(self.model, self._device), self._torch.no_grad():
            return self.model(self._tensor(batch))

    def _gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        leaf = self._tensor(x).requires_grad_()
        scores = self._forward(leaf.clone())
        labels = self._torch.from_numpy(y).to(scores.device)
        loss = self._torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
        # Only the input's gradient: the parameters are frozen, and their .grad is unchanged.
        return _numpy(scores), _numpy(slope(loss, leaf))

    def _tensor(self, batch: Array) -> Tensor:
        import numpy as np  # noqa: PLC0415 - only where arrays are converted

        contiguous = np.require(batch, requirements=("C", "W"))  # a view when it is both already
        tensor = self._torch.from_numpy(contiguous)
        like = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if like is None:
            return cast("Tensor", tensor.to(self._device) if self._device else tensor)
        if not tensor.is_floating_point():  # token ids, bytes
            return cast("Tensor", tensor.to(device=like.device))
        return cast("Tensor", tensor.to(device=like.device, dtype=like.dtype))

    def _forward(self, x: Tensor) -> Tensor:
        seen: list[tuple[Any, Any, Any]] = []
        tails = (self._torch.nn.Softmax, self._torch.nn.Sigmoid)
        with _watching(self.model, tails, lambda *call: seen.append(call)):
            output = _scores(self.model(x))
        before = next((inputs[0] for _, inputs, out in seen if out is output), None)
        return self._finish(output, before=before)

    def _finish(self, output: Tensor, *, before: Tensor | None) -> Tensor:
        scores = output if before is None else before
        scores = scores.reshape(-1, 1) if scores.ndim == 1 else scores
        if scores.ndim == 2 and scores.shape[1] == 1:  # noqa: PLR2004 - one column for two classes
            scores = self._torch.cat([self._torch.zeros_like(scores), scores], dim=1)
        elif before is None and self._probabilities(scores):
            scores = self._torch.log(scores.clamp_min(self._torch.finfo(scores.dtype).tiny))
        require_width(scores.shape, self._classes)
        return scores

    def _probabilities(self, scores: Tensor) -> bool:
        if self._gives_probabilities is None and len(scores):
            self._gives_probabilities = are_probabilities(_numpy(scores))
        return bool(self._gives_probabilities)

    def _penultimate(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []

        def keep(_: Any, inputs: tuple[Any, ...], __: Any) -> None:
            found[:] = [inputs[0].detach()]

        with _watching(self.model, (self._torch.nn.Linear,), keep):
            self.model(x)
        if not found:
            raise UsageError(
                f"features of {type(self.model).__name__}: expected a classifier that ends in a "
                "Linear layer, and no Linear layer ran"
            )
        return found[0].flatten(start_dim=1)


def slope(output: Tensor, leaf: Tensor, along: Tensor | None = None) -> Tensor:
    """Gradient of an output by the input, along a cotangent; zero if it does not depend on it."""
    torch = require("torch")
    gradient = None
    if output.requires_grad:
        (gradient,) = torch.autograd.grad(output, leaf, grad_outputs=along, allow_unused=True)
    return cast("Tensor", torch.zeros_like(leaf) if gradient is None else gradient)


def _scores(output: Any) -> Tensor:
    if isinstance(output, Mapping):
        output = output["logits"] if "logits" in output else next(iter(output.values()))
    elif isinstance(output, tuple):
        output = output[0]
    return cast("Tensor", getattr(output, "logits", output))


def _numpy(tensor: Tensor) -> Array:
    return cast("Array", tensor.detach().float().cpu().numpy())


@contextlib.contextmanager
def _watching(
    model: nn.Module, kinds: tuple[type, ...], hook: Callable[[Any, Any, Any], None]
) -> Iterator[None]:
    watched = [module for module in model.modules() if isinstance(module, kinds)]
    handles = [module.register_forward_hook(hook) for module in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _undisturbed(model: nn.Module, device: torch.device | None) -> Iterator[None]:
    """Evaluation mode with frozen parameters; restores mode, flags, buffers and device exactly."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module, _ in modes
        for name, buffer in module._buffers.items()  # noqa: SLF001 - torch has no public per-module view
    ]
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        if any(training for _, training in modes):
            model.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        if device is not None:
            model.to(device)
        yield
    finally:
        if device is not None and home is not None:
            model.to(home)
        for module, training in modes:
            if module.training != training:
                module.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)  # noqa: FBT003 - torch's own signature
        for module, name, buffer, saved in buffers:
            if buffer is not None and saved is not None:
                buffer.detach().copy_(saved)
            module._buffers[name] = buffer  # noqa: SLF001 - as above: assignment would re-register
