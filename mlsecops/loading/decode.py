"""How checked bytes become a model: one framework call for each format, on the snapshot itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeAlias

from mlsecops.adapters import keras_files, torch_files
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.loading.formats import Format
from mlsecops.loading.snapshot import Source

Framework: TypeAlias = Literal["torch", "numpy", "keras"]
FRAMEWORKS: Final[tuple[Framework, ...]] = ("torch", "numpy", "keras")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the caller wants of the bytes.

    Attributes:
        source: Checked bytes that cannot change, or not unnoticed.
        framework: Framework asked for, or None for the format's own.
        into: The caller's model to fill, or None.
        device: Where torch tensors go.
        globals: Names that the scan found and allowed.
        lasting: Whether a mapping of the bytes stays as it is once they are let go.
        confirm: Demands that the bytes are still those that were checked; called before anything
            of the caller's is touched for good.
    """

    source: Source
    framework: Framework | None = None
    into: Any = None
    device: str = "cpu"
    globals: Collection[str] = ()
    lasting: bool = True
    confirm: Callable[[], None] = field(default=lambda: None)


def decode(found: Format, request: Request) -> Any:
    """Read the bytes with their framework, and fill the caller's model if there is one.

    Raises:
        FormatRefused: The format cannot be loaded, or the framework refuses the bytes.
        UsageError: The framework asked for does not read the format.
        ChangedDuringLoad: The bytes are not those that were checked any more.
    """
    if found not in _DECODERS:
        readable = ", ".join(sorted(_DECODERS))
        raise FormatRefused(
            f"{request.source.name}: {found} cannot be loaded: expected one of {readable}; "
            "convert the model to safetensors or a state dict"
        )
    frameworks, read = _DECODERS[found]
    if request.framework is not None and request.framework not in frameworks:
        raise UsageError(
            f"{request.source.name}: {found} is read by {' or '.join(frameworks)}, "
            f"not by {request.framework!r}"
        )
    value = read(request)
    request.confirm()
    return value


def join_shards(parts: Mapping[str, Any], placed: Mapping[str, str]) -> dict[str, Any]:
    """Tensors of a model's shards, each from the shard that the index names.

    Args:
        parts: Shard → tensors by name.
        placed: Tensor → shard.

    Raises:
        FormatRefused: A shard holds other tensors than the index says.
    """
    joined: dict[str, Any] = {}
    for shard, tensors in parts.items():
        expected = {name for name, home in placed.items() if home == shard}
        if not isinstance(tensors, Mapping) or set(tensors) != expected:
            raise FormatRefused(f"{shard}: its tensors are not those that the index says")
        joined |= tensors
    return joined


def fill(request: Request, tensors: Any) -> Any:
    """The caller's torch module filled with tensors, once the bytes they come from are confirmed.

    Raises:
        UsageError: The caller's model is no torch module.
        FormatRefused: Names or shapes differ; the module is as it was.
        ChangedDuringLoad: The bytes changed; the module is as it was.
    """
    if request.into is None:
        return tensors
    if not torch_files.is_module(request.into):
        raise UsageError(
            f"into= is a {type(request.into).__name__}: expected a torch module for this format"
        )
    request.confirm()
    return torch_files.fill_module(request.into, tensors)


def _safetensors(request: Request) -> Any:
    framework = request.framework or ("torch" if find_spec("torch") else "numpy")
    if request.into is not None:
        framework = "torch"
    tensors = torch_files.read_safetensors(
        request.source.path, framework=framework, device=request.device, lasting=request.lasting
    )
    return fill(request, tensors)


def _torch(request: Request, *, legacy: bool = False) -> Any:
    names = frozenset(request.globals) - torch_files.own_globals()
    value = torch_files.read_torch(
        request.source.path,
        device=request.device,
        legacy=legacy,
        names=names,
        lasting=request.lasting,
    )
    return fill(request, value)


def _keras(request: Request) -> Any:
    if request.into is None:
        return keras_files.read_keras(request.source.path)
    if not keras_files.is_keras(request.into):
        raise UsageError(
            f"into= is a {type(request.into).__name__}: expected a Keras model for this format"
        )
    return keras_files.fill_keras(request.into, request.source.path, confirm=request.confirm)


def _numpy(request: Request) -> Any:
    import numpy as np  # noqa: PLC0415 - loading other formats needs no numpy

    if request.into is not None:
        raise UsageError("into= is for torch and Keras models; arrays are returned as they are")
    loaded = np.load(request.source.path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return dict(loaded)


_DECODERS: Final[dict[Format, tuple[tuple[str, ...], Callable[[Request], Any]]]] = {
    Format.SAFETENSORS: (("torch", "numpy"), _safetensors),
    Format.TORCH: (("torch",), _torch),
    Format.TORCH_LEGACY: (("torch",), lambda request: _torch(request, legacy=True)),
    Format.KERAS: (("keras",), _keras),
    Format.NPZ: (("numpy",), _numpy),
    Format.NPY: (("numpy",), _numpy),
}
