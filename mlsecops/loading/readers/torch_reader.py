"""Torch reader of checked bytes: tensors out, no code executed.

A path to bytes that cannot change comes in; tensors or a module go out.
"""

from __future__ import annotations

import contextlib
import sys
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any, BinaryIO, Final, TypeAlias

from mlsecops._extras import require
from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, FrameworkTooOld, UnsafeContent, UsageError
from mlsecops.loading.formats.safetensors import LENGTH
from mlsecops.loading.memory import Memory, forget, offset_of
from mlsecops.loading.readers.pickle_reader import NamedUnpickler

Place: TypeAlias = Callable[..., Any]
_TYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1fn_x2",
}  # fmt: skip
"""Data type of safetensors → torch's name."""
_HALF_BYTES: Final = "F4"
"""Data type of which a byte holds two elements, as torch's does."""
_ENTRIES: Final = 100_000  # storages of one torch file; default of `Limits.tensors`
OLDEST: Final = (2, 10)
"""Before it, `weights_only` could be escaped (CVE-2025-32434, CVE-2026-24747)."""


def read_safetensors(
    path: str, *, framework: str, device: str, lasting: bool = True
) -> dict[str, Any]:
    """Tensors of a safetensors file.

    Args:
        path: Bytes to read.
        framework: `"torch"` or `"numpy"`.
        device: Where torch tensors go.
        lasting: Whether a mapping of the bytes outlives them; otherwise torch tensors are copied.
    """
    safetensors = require("safetensors")
    kind = "pt" if framework == "torch" else "np"
    try:
        with safetensors.safe_open(path, framework=kind, device=device) as file:
            names = list(file.keys())
            place = _placing(path, device, len(names)) if kind == "pt" and not lasting else None
            return {name: _kept(file.get_tensor(name), place) for name in names}
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise FormatRefused(f"safetensors cannot read the file: {error}") from error


def tensors_in(memory: memoryview) -> dict[str, Any]:
    """Tensors of a whole safetensors file in memory, without a copy.

    Args:
        memory: The file's bytes, writable, with a checked header.

    Raises:
        FormatRefused: torch lacks a data type.

    Source:
        safetensors README, "Format": length of the header, header, tensors.
    """
    start = LENGTH + int.from_bytes(memory[:LENGTH], "little")
    header = safetensors_header(bytes(memory[LENGTH:start]))
    tensors = {}
    for name, entry in header.items():
        first, end = (start + offset for offset in entry["data_offsets"])
        tensors[name] = tensor_in(name, entry, memory[first:end])
    return tensors


def safetensors_header(text: bytes) -> dict[str, Any]:
    """Name → dtype, shape and offsets of a checked safetensors header."""
    header = parse_object(text, what="safetensors header", error=FormatRefused)
    header.pop("__metadata__", None)
    return header


def tensor_in(name: str, entry: Mapping[str, Any], part: memoryview) -> Any:
    """Tensor over its own bytes in memory, without a copy.

    Args:
        name: Its name, for messages.
        entry: Its dtype and shape, as a checked header has them.
        part: Its bytes, writable.

    Raises:
        FormatRefused: torch lacks a data type.
    """
    torch = require("torch")
    kind = getattr(torch, _TYPES.get(entry["dtype"], ""), None)
    if kind is None:
        raise FormatRefused(f"{name!r}: torch has no type for {entry['dtype']}")
    shape = entry["shape"]
    if entry["dtype"] == _HALF_BYTES:
        shape = [*shape[:-1], shape[-1] // 2]
    return _tensor(torch, part, kind).view(shape)


def _tensor(torch: Any, part: memoryview, kind: Any) -> Any:
    if not part:
        return torch.empty(0, dtype=kind)
    flat = torch.frombuffer(part, dtype=torch.uint8)
    if flat.data_ptr() % kind.itemsize:
        flat = flat.clone()  # where the writer did not align the header
    return flat.view(kind)


def read_torch(
    path: str,
    *,
    device: str,
    legacy: bool,
    names: Iterable[str] = (),
    lasting: bool = True,
    memory: memoryview | None = None,
) -> Any:
    """Object of a torch file, read with `weights_only`, or by an unpickler of the scan's names.

    Args:
        path: Bytes to read.
        device: Where tensors go.
        legacy: Whether the file has torch's old layout, which cannot be mapped.
        names: Globals that the scan found and allowed; those outside torch's list are imported.
        lasting: Whether a mapping of the bytes outlives them; otherwise tensors are copied.
        memory: The same bytes in memory, writable; tensors use it without a copy.

    Raises:
        FrameworkTooOld: The installed torch has a known escape from `weights_only`.
        FormatRefused: torch refuses the file.
    """
    torch = require("torch")
    _require_new(torch)
    names = frozenset(names)
    held = None if memory is None or _of_other_order(path) else memory
    place = None if legacy or lasting else _placing(path, device, _ENTRIES, held)
    options = {"mmap": not legacy, "map_location": place or device}
    allowed = [*map(_resolve, sorted(names - own_globals())), *_dtype_classes(names)]
    try:
        with torch.sparse.check_sparse_tensor_invariants():
            # weights_only is always given: the environment can flip its default.
            with torch.serialization.safe_globals(allowed), contextlib.suppress(UnpicklingError):
                return torch.load(path, weights_only=True, **options)
            return _read_checked(torch, path, names, options, legacy=legacy)
    except UnsafeContent:
        raise
    except Exception as error:  # torch raises whatever the bytes make it raise
        raise FormatRefused(f"torch refuses the file: {error}") from error


def read_torch_bytes(data: BinaryIO, *, names: Collection[str], device: str) -> Any:
    """Object of a torch archive in memory; `names` and `device` as for `read_torch`."""
    torch = require("torch")
    _require_new(torch)
    names = frozenset(names)
    allowed = [*map(_resolve, sorted(names - own_globals())), *_dtype_classes(names)]
    try:
        with torch.sparse.check_sparse_tensor_invariants():
            with torch.serialization.safe_globals(allowed), contextlib.suppress(UnpicklingError):
                return torch.load(data, weights_only=True, map_location=device)
            data.seek(0)
            return _read_checked(torch, data, names, {"map_location": device}, legacy=False)
    except UnsafeContent:
        raise
    except Exception as error:  # torch raises whatever the bytes make it raise
        raise FormatRefused(f"torch refuses the archive: {error}") from error


def _read_checked(
    torch: Any, path: Any, names: Collection[str], options: dict[str, Any], *, legacy: bool
) -> Any:
    """Object with values that `weights_only` cannot build, through an unpickler of the same names.

    The scan has executed every opcode symbolically and held each call to its contract; a
    `defaultdict` and newer protocols, which `weights_only` refuses, are among what it passes.
    """
    if legacy and tarfile.is_tarfile(path):
        raise FormatRefused("a tar archive that begins like a torch file; get the file again")
    unpickler = NamedUnpickler.of(names)

    def load(stream: BinaryIO, **encoding: Any) -> Any:
        return unpickler(stream, **encoding).load()

    reader = SimpleNamespace(Unpickler=unpickler, load=load, __name__="pickle")
    return torch.load(path, weights_only=False, pickle_module=reader, **options)


def _dtype_classes(names: Collection[str]) -> list[Any]:
    """Classes of NumPy's dtypes, which a pickle of an array makes without naming them."""
    if not any(name.startswith("numpy.") for name in names):
        return []
    dtypes = require("numpy").dtypes
    return [getattr(dtypes, name) for name in dtypes.__all__]


def read_code(path: str, *, device: str, exported: bool) -> Any:
    """Module of a TorchScript file or an exported program, both of which carry code.

    Args:
        path: Bytes to read.
        device: Where tensors of TorchScript go; an exported program stays where it was exported.
        exported: Whether it is a `.pt2` file.

    Raises:
        FrameworkTooOld: The installed torch has a known escape from `weights_only`.
        FormatRefused: torch refuses the file.
    """
    torch = require("torch")
    _require_new(torch)
    try:
        with Path(path).open("rb") as stream:
            if exported:
                return torch.export.load(stream).module()
            return torch.jit.load(stream, map_location=device)
    except Exception as error:  # as above
        raise FormatRefused(f"torch refuses the file: {error}") from error


def _placing(path: str, device: str, pieces: int, held: memoryview | None = None) -> Place | None:
    """Function that copies a mapped storage; None where the device copies it anyway."""
    torch = require("torch")
    if torch.device(device).type != "cpu":
        return None
    if held is not None:
        return _reusing(torch, held)
    memory = Memory(Path(path).stat().st_size, pieces=pieces)

    def place(storage: Any, _: Any = None) -> Any:
        size = storage.nbytes()
        if not size:  # a view of nothing would keep the mapping
            return torch.UntypedStorage(0)
        map_, start = memory.take(size)
        copy = torch.frombuffer(map_, dtype=torch.uint8, offset=start, count=size)
        copy.copy_(torch.empty(0, dtype=torch.uint8).set_(storage))
        forget(storage.data_ptr(), size)
        return copy.untyped_storage()

    return place


def _of_other_order(path: str) -> bool:
    """Whether torch will swap the bytes of the file's numbers after mapping them."""
    with zipfile.ZipFile(path) as archive:
        orders = [name for name in archive.namelist() if name.endswith("/byteorder")]
        return any(archive.read(name) != sys.byteorder.encode() for name in orders)


def _reusing(torch: Any, held: memoryview) -> Place:
    """Function that replaces a mapped storage by the same bytes of a whole file in memory."""
    start = -1

    def place(storage: Any, _: Any = None) -> Any:
        nonlocal start
        size, address = storage.nbytes(), storage.data_ptr()
        if not size:  # as above
            return torch.UntypedStorage(0)
        if start < 0:
            start = address - offset_of(address)
        part = held[address - start :][:size]
        return torch.frombuffer(part, dtype=torch.uint8, count=size).untyped_storage()

    return place


def _kept(tensor: Any, place: Place | None) -> Any:
    if place is None:
        return tensor
    storage = place(tensor.untyped_storage())
    return tensor.new_empty(0).set_(storage, 0, tensor.shape, tensor.stride())


def require_device(device: str) -> None:
    """Demand that tensors can be put on a device.

    Raises:
        UsageError: There is no such device, or nothing can be put there.
    """
    torch = require("torch")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # torch raises what the device's own library does
        raise UsageError(
            f"cannot use device {device!r}: expected one that torch knows here, such as cpu, got "
            f"{error}"
        ) from error


def own_globals() -> frozenset[str]:
    """Names that `weights_only` allows by itself."""
    unpickler = require("torch._weights_only_unpickler")
    return frozenset(unpickler._get_allowed_globals())  # noqa: SLF001 - torch has no public list


def _require_new(torch: Any) -> None:
    version = tuple(int(part) for part in str(torch.__version__).split("+")[0].split(".")[:2])
    if version < OLDEST:
        raise FrameworkTooOld(
            f"torch {torch.__version__}: expected at least {OLDEST[0]}.{OLDEST[1]}, whose "
            'weights_only holds; upgrade with: pip install "mlsecops-sdk[torch]"'
        )


def _resolve(name: str) -> tuple[Any, str]:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute), name
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot import allowed global {name!r}: {error}") from error
