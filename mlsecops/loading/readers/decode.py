"""Decoding of checked bytes into a model: one framework call for each format, on the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias, get_args

from mlsecops.adapters import keras_weights, torch_weights
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.detection import Format
from mlsecops.loading.holding.active import reading
from mlsecops.loading.limits import Limits
from mlsecops.loading.readers import (
    distributed_reader,
    keras_reader,
    onnx_reader,
    pickle_reader,
    torch_reader,
)
from mlsecops.loading.snapshot import Source

Framework: TypeAlias = Literal["torch", "numpy", "keras", "tensorflow", "sklearn", "onnx", "trees"]
FRAMEWORKS: Final[tuple[Framework, ...]] = get_args(Framework)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A load's options for decoding.

    Attributes:
        source: Checked bytes that cannot change undetected.
        framework: Name of the framework, or None for the format's own.
        into: The caller's model to fill, or None.
        device: Device of torch tensors.
        globals: Names that the scan found and allowed.
        allowed: Names that the caller allows in addition to the built-in list.
        external: Name → bytes of further files of the model, held and checked like the source.
        limits: Resource limits.
        lasting: Whether a mapping of the bytes outlives the snapshot.
        confirm: Raises where the bytes changed since the check; called before the caller's model
            is changed.
    """

    source: Source
    framework: Framework | None = None
    into: Any = None
    device: str = "cpu"
    globals: Collection[str] = ()
    allowed: Collection[str] = ()
    external: Mapping[str, Source] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    lasting: bool = True
    confirm: Callable[[], None] = field(default=lambda: None)


def decode(found: Format, request: Request) -> Any:
    """Read the bytes with their framework, and fill the caller's model if there is one.

    Raises:
        FormatRefused: The format cannot be loaded, or the framework refuses the bytes.
        UsageError: An option does not fit the format.
        ChangedDuringLoad: The bytes changed since the check.
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
            f"{request.source.name}: expected a framework that reads it: {found} is read by "
            f"{' or '.join(frameworks)}, "
            f"not by {request.framework!r}"
        )
    if request.device != "cpu":
        if "torch" not in frameworks:
            raise UsageError(
                f"{request.source.name}: device={request.device!r} is for torch tensors: "
                f"{found} is read by {' or '.join(frameworks)}, which places models itself"
            )
        torch_reader.require_device(request.device)
    if request.into is not None and found not in _FILLS:
        raise UsageError(
            f"{request.source.name}: into= fills torch modules and Keras models with weights; "
            "this format holds a whole model"
        )
    with reading(anywhere=True):
        value = read(request)
    request.confirm()
    return value


def loadable(found: Format) -> bool:
    """Whether a format is loaded here, and not held for another reader."""
    return found in _DECODERS


def join_shards(parts: Mapping[str, Any], placed: Mapping[str, str]) -> dict[str, Any]:
    """Tensors of a model's shards, each from the shard that the index names.

    Args:
        parts: Shard → tensors by name.
        placed: Tensor → shard.

    Raises:
        FormatRefused: A shard has other tensors than the index lists for it.

    Examples:
        >>> join_shards({"a": {"w": 1}, "b": {"v": 2}}, {"w": "a", "v": "b"})
        {'w': 1, 'v': 2}
    """
    joined: dict[str, Any] = {}
    for shard, tensors in parts.items():
        expected = {name for name, home in placed.items() if home == shard}
        if not isinstance(tensors, Mapping) or set(tensors) != expected:
            raise FormatRefused(f"{shard}: its tensors differ from those in the index")
        joined |= tensors
    return joined


def fill(request: Request, tensors: Any) -> Any:
    """The caller's torch module filled with tensors, after their bytes are confirmed.

    Raises:
        UsageError: The caller's model is not a torch module.
        FormatRefused: Names or shapes differ; the module is unchanged.
        ChangedDuringLoad: The bytes changed; the module is unchanged.
    """
    if request.into is None:
        return tensors
    if not torch_weights.is_module(request.into):
        raise UsageError(
            f"into= is a {type(request.into).__name__}: expected a torch module for this format"
        )
    request.confirm()
    return torch_weights.fill_module(request.into, tensors)


def _safetensors(request: Request) -> Any:
    framework = request.framework or ("torch" if find_spec("torch") else "numpy")
    if request.into is not None:
        framework = "torch"
    if request.source.memory is not None and framework == "torch" and request.device == "cpu":
        return fill(request, torch_reader.tensors_in(request.source.memory))
    tensors = torch_reader.read_safetensors(
        request.source.path, framework=framework, device=request.device, lasting=request.lasting
    )
    return fill(request, tensors)


def _torch(request: Request, *, legacy: bool = False) -> Any:
    value = torch_reader.read_torch(
        request.source.path,
        device=request.device,
        legacy=legacy,
        names=request.globals,
        lasting=request.lasting,
        memory=request.source.memory,
    )
    return fill(request, value)


def _distributed(request: Request) -> Any:
    value = distributed_reader.read_distributed(
        request.source, _next_to(request), names=request.globals, device=request.device
    )
    return fill(request, value)


def _torch_code(request: Request, *, exported: bool = False) -> Any:
    return torch_reader.read_code(request.source.path, device=request.device, exported=exported)


def _keras(request: Request, *, hdf5: bool = False) -> Any:
    if request.into is None:
        return keras_reader.read_keras(request.source.path, hdf5=hdf5)
    if not keras_weights.is_keras(request.into):
        raise UsageError(
            f"into= is a {type(request.into).__name__}: expected a Keras model for this format"
        )
    return keras_weights.fill_keras(
        request.into, request.source.path, hdf5=hdf5, confirm=request.confirm
    )


def _savedmodel(request: Request) -> Any:
    files = {request.source.name: request.source, **request.external}
    return keras_reader.read_savedmodel({name: each.path for name, each in files.items()})


def _pickle(request: Request) -> Any:
    return pickle_reader.read_pickle(request.source.path, names=request.globals)


def _joblib(request: Request) -> Any:
    with expanded(request.source, limits=request.limits) as plain:
        return pickle_reader.read_pickle(plain.path, names=request.globals)


def _skops(request: Request) -> Any:
    names = pickle_globals() | frozenset(request.allowed)
    return pickle_reader.read_skops(request.source.path, names=names)


def _next_to(request: Request) -> dict[str, Source]:
    """Further files of the model by their names relative to its folder."""
    folder = PurePosixPath(request.source.name).parent
    return {
        str(PurePosixPath(name).relative_to(folder)): each
        for name, each in request.external.items()
        if PurePosixPath(name).is_relative_to(folder)
    }


def _onnx(request: Request) -> Any:
    external = {name: each.path for name, each in _next_to(request).items()}
    return onnx_reader.read_onnx(request.source.path, external=external)


def _trees(request: Request, *, kind: str) -> Any:
    from mlsecops.loading.readers.tree_reader import (  # noqa: PLC0415 - other formats need no numpy
        read_tree_model,
    )

    return read_tree_model(request.source, request.limits, kind=kind)


def _numpy(request: Request) -> Any:
    import numpy as np  # noqa: PLC0415 - loading other formats needs no numpy

    loaded = np.load(request.source.path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return dict(loaded)


_DECODERS: Final[dict[Format, tuple[tuple[str, ...], Callable[[Request], Any]]]] = {
    Format.SAFETENSORS: (("torch", "numpy"), _safetensors),
    Format.TORCH: (("torch",), _torch),
    Format.TORCH_LEGACY: (("torch",), lambda request: _torch(request, legacy=True)),
    Format.DISTRIBUTED_METADATA: (("torch",), _distributed),
    Format.KERAS: (("keras",), _keras),
    Format.TORCHSCRIPT: (("torch",), _torch_code),
    Format.PT2: (("torch",), lambda request: _torch_code(request, exported=True)),
    Format.HDF5: (("keras",), lambda request: _keras(request, hdf5=True)),
    Format.SAVED_MODEL: (("tensorflow",), _savedmodel),
    Format.PICKLE: (("sklearn",), _pickle),
    Format.JOBLIB: (("sklearn",), _joblib),
    Format.SKOPS: (("sklearn",), _skops),
    Format.ONNX: (("onnx",), _onnx),
    Format.XGBOOST: (("trees",), lambda request: _trees(request, kind="json")),
    Format.XGBOOST_UBJ: (("trees",), lambda request: _trees(request, kind="ubjson")),
    Format.LIGHTGBM: (("trees",), lambda request: _trees(request, kind="text")),
    Format.NPZ: (("numpy",), _numpy),
    Format.NPY: (("numpy",), _numpy),
}
_FILLS: Final = frozenset(
    {
        Format.SAFETENSORS,
        Format.TORCH,
        Format.TORCH_LEGACY,
        Format.DISTRIBUTED_METADATA,
        Format.KERAS,
        Format.HDF5,
    }
)
"""Formats of weights, which `into=` can fill a model with."""
