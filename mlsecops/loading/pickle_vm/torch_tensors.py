"""Sizes of torch tensors and storages, against the storages in the file.

A persistent id or the arguments of a rebuilding function come in; ValueError where a tensor reaches
beyond its storage, which torch would enlarge, or a storage beyond the file.

Source: torch `serialization.py`, `persistent_id` of `_save`; `_utils.py`, `_rebuild_tensor_v2`;
ATen `Resize.cpp`, `set_` resizes a storage that is too small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mlsecops.loading.pickle_vm.dtypes import MOST_DIMENSIONS
from mlsecops.loading.pickle_vm.stack import CallResult, Global
from mlsecops.loading.shapes import element_count

PERSISTENT: Final = "persistent"
_STORAGE: Final = re.compile(r"torch(\.cuda)?\.([A-Za-z0-9]+)Storage")
_UNTYPED: Final = "torch.storage.UntypedStorage"
_ITEMS: Final = {
    "BFloat16": 2, "Bool": 1, "Byte": 1, "Char": 1, "ComplexDouble": 16, "ComplexFloat": 8,
    "Double": 8, "Float": 4, "Half": 2, "Int": 4, "Long": 8, "QInt32": 4, "QInt8": 1,
    "QUInt2x4": 1, "QUInt4x2": 1, "QUInt8": 1, "Short": 2, "Untyped": 1,
}  # fmt: skip
"""Kind of storage → bytes of an element (torch `storage.py`, `_storage_type_to_dtype_map`)."""
_DTYPE: Final = re.compile(r"torch\.(bool|b?(?:float|complex|uint|int|bits|quint|qint)([0-9]+)\w*)")
_PID: Final = 5  # items of a persistent id: "storage", type, key, place, elements
_LARGEST: Final = 1 << 63  # elements; torch counts in int64


def require_storage(pid: Any, stored: Mapping[str, int] | None) -> None:
    """Demand that a storage of a persistent id is in the file.

    Args:
        pid: Symbolic persistent id.
        stored: Key → bytes in the file; None where the file has them behind the pickle.

    Raises:
        ValueError: It is not, or it is longer.
    """
    kind, elements = _storage(pid)
    if stored is not None:
        size = stored.get(pid[2])
        if size is None or elements * kind > size:
            raise ValueError(
                f"storage {str(pid[2])[:20]!r} of {elements} elements of {kind} bytes: expected at "
                f"most the {size or 0} bytes that the file holds"
            )


def storage_bytes(pid: Any) -> int:
    """Bytes that a storage of a persistent id takes.

    Raises:
        ValueError: It is no id of a storage.
    """
    kind, elements = _storage(pid)
    return kind * elements


def _storage(pid: Any) -> tuple[int, int]:
    """Bytes of an element, and number of elements."""
    if not isinstance(pid, tuple) or len(pid) < _PID or pid[0] not in {"storage", b"storage"}:
        raise ValueError("a reference that is not one to a storage")
    kind, elements = pid[1], pid[4]
    name = kind.name if isinstance(kind, Global) else ""
    match = _STORAGE.fullmatch(name)
    if name != _UNTYPED and (match is None or match[2] not in _ITEMS):
        raise ValueError(f"a storage of unknown kind {name!r}")
    if type(elements) is not int or not 0 <= elements < _LARGEST:
        raise ValueError("a storage without a number of elements")
    return (1 if match is None else _ITEMS[match[2]]), elements


def _elements(storage: Any, item: int | None = None) -> int:
    if not isinstance(storage, CallResult) or storage.name != PERSISTENT:
        raise ValueError("a tensor without a storage of the file")
    size, elements = _storage(storage.arguments[0])
    return elements if item is None else size * elements // item


def _numbers(values: Any) -> tuple[int, ...]:
    if isinstance(values, CallResult) and values.name == "torch.Size":
        values = values.arguments[0] if values.arguments else ()
    if not isinstance(values, tuple) or len(values) > MOST_DIMENSIONS:
        raise ValueError("a tensor without sizes and strides")
    if not all(type(n) is int and n >= 0 for n in values):
        raise ValueError("a tensor whose sizes or strides are no whole numbers")
    return values


def _require_inside(elements: int, offset: Any, size: Any, stride: Any) -> None:
    sizes, strides = _numbers(size), _numbers(stride)
    if len(sizes) != len(strides) or type(offset) is not int or offset < 0:
        raise ValueError("a tensor whose sizes, strides and offset contradict each other")
    if 0 in sizes:
        return
    steps = zip(sizes, strides, strict=True)
    if offset + sum((count - 1) * step for count, step in steps) >= elements:
        raise ValueError("a tensor that reaches beyond its storage")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
    _require_inside(_elements(storage), offset, size, stride)


def _typed(*arguments: Any) -> None:
    storage, offset, size, stride, _, _, dtype = arguments[:7]
    _require_inside(_elements(storage, _item(dtype)), offset, size, stride)


def _item(dtype: Any) -> int:
    match = _DTYPE.fullmatch(dtype.name) if isinstance(dtype, Global) else None
    if match is None:
        raise ValueError("a tensor of unknown dtype")
    whole = match[2] is not None and "x" not in match[1] and not match[1].startswith("float8_")
    return max(1, int(match[2]) // 8) if whole else 1


def _quantized(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
    elements = _elements(storage)
    if element_count(_numbers(size), most=elements) > elements:
        raise ValueError("a tensor larger than its storage")
    _require_inside(elements, offset, size, stride)


def _size(values: Any = ()) -> None:
    _numbers(values)


TENSOR_CHECKS: Final[dict[str, Callable[..., None]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch.Size": _size,
}
"""Rebuilding function → check of its arguments."""
