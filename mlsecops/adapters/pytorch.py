"""PyTorch Adapter: numpy arrays in and out, autograd inside, the module unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from mlsecops._choices import one_of
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.output_form import found_form, require_values, width_of
from mlsecops.adapters.base import (
    TriedInputs,
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

    from mlsecops.adapters.answers.output_form import OutputForm
    from mlsecops.adapters.base import Array, Cotangent, Labels, Precision


@concise_repr("model", "_device")
class TorchAdapter(TriedInputs):
    """A torch module as a classifier; a TorchScript module and an exported program are ones too.

    The module may return logits, probabilities or their logarithms, or one column of either for
    two classes, alone or in a tuple, mapping or object; see the option `output` of `adapt`. Before
    a final softmax or sigmoid, a function's too, the logits are read.
    """

    framework = "torch"
    differentiable = True
    _channels_first = True

    def __init__(
        self,
        model: Any,
        *,
        precision: Precision | None = None,
        channels_last: bool = False,
        **options: Any,
    ) -> None:
        exported = not isinstance(model, require("torch").nn.Module)
        super().__init__(model.module() if exported else model, **options)
        self.options |= {"precision": precision, "channels_last": channels_last}
        names = ("bfloat16", "float16")
        self._precision = None if precision is None else one_of("precision", precision, names)
        self._channels_last = channels_last
        self._holding = False
        self.written: set[str] = set()

    def _prepare(self, device: str | None) -> None:
        self._torch: Any = require("torch")
        self._device = None if device is None else _present(self._torch, device)
        self._tail = import_module("mlsecops.adapters.answers.torch_tail").LastOperation

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the module and the options."""
        return partial(type(self), **self.options), (self.model,), {"_form": self._form}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the module on its device and in evaluation mode between the calls inside."""
        with _buffers(self.model, self.written), _settings(self.model, self._device):
            self._holding = True
            try:
                yield
            finally:
                self._holding = False

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Settings and buffers of the module as they were, after each call."""
        kept = contextlib.nullcontext() if self._holding else _settings(self.model, self._device)
        with _buffers(self.model, self.written), kept:
            yield

    def _traced(self, x: Tensor) -> Tensor:
        """Logits with a gradient, in the precision that was chosen for it."""
        if self._precision is None:
            return self.forward(x)
        kind = getattr(self._torch, self._precision)
        with self._torch.autocast(x.device.type, dtype=kind):
            return self.forward(x).float()

    def logits(self, x: Array) -> Array:
        """Scores before the softmax `(n, k)`."""
        return self._each_batch(self.forward, x)

    def features(self, x: Array) -> Array:
        """Input of the last `Linear` that runs, flattened to `(n, d)`."""
        return self._each_batch(self._penultimate, x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits `(n, k)` and the gradient of each sample's own cross-entropy `(n, *shape)`."""
        rows = self._float_rows(x)
        labels = class_labels(y, rows=len(rows))
        with self._undisturbed(), self._torch.enable_grad():
            parts = [self._gradient(rows[part], labels[part]) for part in batches(len(rows))]
        return joined(parts)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss, of all of `x` in one batch; see `Pullback`."""
        rows = self._float_rows(x)
        with self._undisturbed(), self._torch.enable_grad():
            leaf = self._tensor(rows).requires_grad_()
            scores = self._traced(leaf.clone())
            logits = _numpy(scores)
            along = self._torch.from_numpy(cotangent_rows(cotangent, logits)).to(scores)
            with self._answering(leaf):
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
        with self._undisturbed(), self._torch.no_grad():
            return in_batches(run, rows)

    def _call(self, batch: Array) -> object:
        with self._undisturbed(), self._torch.no_grad():
            return self.model(self._tensor(batch))

    def _gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        leaf = self._tensor(x).requires_grad_()
        scores = self._traced(leaf.clone())
        labels = self._torch.from_numpy(y).to(scores.device)
        loss = self._torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
        with self._answering(leaf):
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
        tensor = tensor.to(device=like.device, dtype=like.dtype)
        if self._channels_last and tensor.ndim == 4:  # noqa: PLR2004 - (n, c, h, w)
            tensor = tensor.to(memory_format=self._torch.channels_last)
        return cast("Tensor", tensor)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, k)` of a batch, with the module in the mode in which it is.

        Raises:
            UsageError: The module refuses the batch, or its answer cannot be read.
        """
        if self._form is None:
            return self._settled(x)
        if not self._form.reads_before:
            output = self._request.take(self._answer(x), self._form.member)
            return self._logits(output, None, form=self._form, rows=len(x))
        with self._tail(affine=False) as tail:
            output = self._request.take(self._answer(x), self._form.member)
        return self._logits(output, tail.end(output)[1], form=self._form, rows=len(x))

    def _answer(self, x: Tensor) -> Any:
        with self._answering(x):
            return self.model(x)

    def _settled(self, x: Tensor) -> Tensor:
        """Logits of a first batch, on which the form of the answers is found out."""
        with self._tail() as tail, self._torch.enable_grad():
            traced = (
                x if x.requires_grad or not x.is_floating_point() else x.requires_grad_().clone()
            )
            answer = self._answer(traced)
            member = self._request.member(answer, rows=len(x))
            output = self._request.take(answer, member)
        last, before = tail.end(output)
        rows = _numpy(output).reshape(len(x), width_of(output.shape, rows=len(x)))
        form = found_form(rows, self._request, last=last, member=member)
        if len(x):
            self._form = form
        return self._logits(output, before, form=form, rows=len(x))

    def _logits(
        self, output: Tensor, before: Tensor | None, *, form: OutputForm, rows: int
    ) -> Tensor:
        width = width_of(output.shape, rows=rows)
        if width != form.width:
            raise UsageError(f"model output: expected {form.width} columns as before, got {width}")
        kind: str = form.form
        if before is not None and form.reads_before:
            kind, output = ("logit" if width == 1 else "logits"), before
        elif kind not in {"logit", "logits"}:
            require_values(_numpy(output), form)
        scores = self._as_logits(output.reshape(rows, width), kind)
        require_width(scores.shape, self._classes)
        return scores

    def _as_logits(self, scores: Tensor, kind: str) -> Tensor:
        torch = self._torch
        tiny = torch.finfo(scores.dtype).tiny
        if kind == "probabilities":
            scores = scores.clamp_min(tiny).log()
        elif kind == "probability":
            both = torch.cat([1 - scores, scores], dim=1)
            scores = both.clamp_min(tiny).log()
        elif kind == "log-probability":
            scores = torch.cat([(-torch.expm1(scores)).clamp_min(tiny).log(), scores], dim=1)
        elif kind == "logit":
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        return scores

    def _penultimate(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []

        def keep(_: Any, inputs: tuple[Any, ...], __: Any) -> None:
            found[:] = [inputs[0].detach()]

        with _watching(self.model, (self._torch.nn.Linear,), keep), self._answering(x):
            self.model(x)
        if not found:
            raise UsageError(
                f"features of {type(self.model).__name__}: expected a classifier that ends in a "
                "Linear layer, and no Linear layer ran (of TorchScript and exported programs give "
                "the module that they were made from)"
            )
        return found[0].flatten(start_dim=1)


def slope(output: Tensor, leaf: Tensor, along: Tensor | None = None) -> Tensor:
    """Gradient of an output by the input, along a cotangent; zero if it does not depend on it."""
    torch = require("torch")
    gradient = None
    if output.requires_grad:
        (gradient,) = torch.autograd.grad(output, leaf, grad_outputs=along, allow_unused=True)
    return cast("Tensor", torch.zeros_like(leaf) if gradient is None else gradient)


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


def _present(library: Any, name: str) -> torch.device:
    """The device of a name, which torch has on this machine."""
    try:
        found = library.device(name)
        library.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"device: expected one that torch has here, got {name!r}: {reason}"
        ) from error
    return cast("torch.device", found)


@contextlib.contextmanager
def _settings(model: nn.Module, device: torch.device | None) -> Iterator[None]:
    """Evaluation mode with frozen parameters on a device; restores mode, flags and device."""
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    trainable = [each for each in model.parameters() if each.requires_grad and each.is_leaf]
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        if any(training for _, training in modes):
            with contextlib.suppress(NotImplementedError):  # an exported graph has one mode only
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


@contextlib.contextmanager
def _buffers(model: nn.Module, written: set[str]) -> Iterator[None]:
    """Restores the buffers of all modules exactly, and adds the names of those that changed."""
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()  # noqa: SLF001 - torch has no public per-module view
    ]
    try:
        yield
    finally:
        for module, name, buffer, saved in buffers:
            now = dict(module._buffers.items()).get(name)  # noqa: SLF001 - as above; TorchScript's has no get
            if now is not buffer or (saved is not None and not _alike(now, saved)):
                written.add(name)
            if buffer is not None and saved is not None:
                buffer.detach().copy_(saved)
            module._buffers[name] = buffer  # noqa: SLF001 - as above: assignment would re-register


def _alike(now: Tensor | None, saved: Tensor) -> bool:
    """Whether a buffer has the same bytes as before; NaN is NaN."""
    if now is None or now.shape != saved.shape or now.dtype != saved.dtype:
        return False
    same = now == saved
    if now.is_floating_point():
        same = same | (now.isnan() & saved.isnan())
    return bool(same.all())
