"""HDF5 walk: every link, attribute and data set of a file, read to its end.

stream → links, attributes, filters and sizes checked → Walked

`hdf5_reader` runs it in a worker process: on a damaged file the HDF5 library may crash, or never
return.

Source: HDF5 file format 3.0, links (IV.A.2.g), external file list (IV.A.2.h), filter pipeline
(IV.A.2.l).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from mlsecops._extras import require
from mlsecops.errors import ContentRefused, FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count

CONFIG: Final = "model_config"
"""Attribute of the root in which Keras keeps the architecture of a whole model."""
TRAINING: Final = "training_config"
"""Attribute of the root in which Keras keeps the optimizer, the losses and the metrics."""
_BUILT_IN_FILTERS: Final = frozenset({1, 2, 3, 32000})
"""Deflate, shuffle, Fletcher-32, LZF: every other filter is a library that HDF5 would load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """Result of a walk.

    Attributes:
        numbers: Number of elements of all data sets.
        config: Text of the architecture, or None.
        training: Text of the optimizer, losses and metrics, or None.
    """

    numbers: int
    config: str | None
    training: str | None = None


def walk(stream: BinaryIO, *, where: str, limits: Limits) -> Walked:
    """Check every link, attribute and data set, and read chunked and variable-length data.

    Args:
        stream: The file's bytes.
        where: Name for messages.
        limits: Ceilings of count, size and ratio.

    Raises:
        UnsafeContent: Something refers outside the file, or needs a plugin.
        LimitExceeded: A data set declares far more than it stores, or there are too many.
        FormatRefused: It cannot be read.
        MissingExtra: h5py is not installed.
    """
    h5py = require("h5py")
    numbers = 0
    try:
        with h5py.File(stream, "r") as file:
            root = _attributes(h5py, file, where, limits)
            for count, (name, item) in enumerate(_items(h5py, file, where, limits.depth)):
                limits.require("tensors", count, where=where)
                _attributes(h5py, item, f"{where}: {name}", limits)
                if isinstance(item, h5py.Dataset):
                    _require_plain(h5py, item, f"{where}: {name}", limits)
                    _read(h5py, item)
                    numbers += int(item.size or 0)
    except ContentRefused:
        raise
    except MemoryError as error:
        raise LimitExceeded(f"{where}: takes more memory to read than it may") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FormatRefused(f"{where}: not a readable HDF5 file: {error}") from error
    return Walked(numbers=numbers, config=_text(root, CONFIG), training=_text(root, TRAINING))


def _text(attributes: dict[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None else str(value)


def _items(h5py: Any, group: Any, where: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth <= 0:
        raise LimitExceeded(f"{where}: groups nested too deeply; raise Limits(depth=…) if meant")
    for key in group:
        name = f"{group.name.rstrip('/')}/{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise _unsafe("hdf5-link", f"{where}: {name} is a link to elsewhere", name)
        item = group[key]
        yield name, item
        if isinstance(item, h5py.Group):
            yield from _items(h5py, item, where, depth - 1)


def _attributes(h5py: Any, item: Any, where: str, limits: Limits) -> dict[str, Any]:
    """Attributes of numbers and text; on damaged ones of other types the library may crash."""
    kinds = h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM
    found = {}
    for key in item.attrs:
        attribute = item.attrs.get_id(key)
        if attribute.get_type().get_class() not in kinds:
            raise _unsafe("hdf5-attribute", f"{where}: attribute {key} is no number or text", key)
        size = (
            element_count(attribute.shape or (), most=limits.header_bytes)
            * attribute.dtype.itemsize
        )
        limits.require("header_bytes", size, where=f"{where}: {key}")
        found[key] = item.attrs[key]
    return found


def _require_plain(h5py: Any, item: Any, where: str, limits: Limits) -> None:
    if item.external or item.is_virtual:
        raise _unsafe("hdf5-external", f"{where}: its data is in another file", where)
    if item.dtype.kind == "O" and h5py.check_string_dtype(item.dtype) is None:
        raise _unsafe("hdf5-object", f"{where}: holds references or objects", where)
    plist = item.id.get_create_plist()
    filters = {plist.get_filter(index)[0] for index in range(plist.get_nfilters())}
    if filters - _BUILT_IN_FILTERS:
        raise _unsafe("hdf5-filter", f"{where}: needs filter plugin {sorted(filters)}", where)
    declared, stored = int(item.size or 0) * item.dtype.itemsize, item.id.get_storage_size()
    if declared > limits.ratio * stored:
        raise LimitExceeded(
            f"{where}: shape {item.shape} of {item.dtype} declares {declared} bytes and stores "
            f"{stored}: expected a ratio of at most {limits.ratio}"
        )


def _read(h5py: Any, item: Any) -> None:
    """Read chunked and variable-length data once, so that a later read ends too."""
    if item.chunks:
        for chunk in item.iter_chunks():
            item[chunk]
    elif h5py.check_string_dtype(item.dtype) is not None:
        item[()]


def _unsafe(rule: str, message: str, where: str) -> UnsafeContent:
    return UnsafeContent(f"{message}; save the weights again without it", rule=rule, where=where)
