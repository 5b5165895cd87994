"""Whether an HDF5 file keeps to itself: no link, storage or plugin outside it, no shape bomb.

Source: HDF5 file format 3.0, links (IV.A.2.g), external file list (IV.A.2.h), filter pipeline
(IV.A.2.l).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.limits import Limits

_BUILT_IN_FILTERS: Final = frozenset({1, 2, 3, 32000})
"""Deflate, shuffle, Fletcher-32, LZF: every other filter is a library that HDF5 would load."""


def require_contained(stream: BinaryIO, *, where: str, limits: Limits) -> int:
    """Check every link and data set.

    Args:
        stream: The file's bytes.
        where: Name for messages.
        limits: Ceilings of count and ratio.

    Returns:
        How many numbers all data sets have.

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
            _require_plain_attributes(h5py, file, where)
            for count, (name, item) in enumerate(_items(h5py, file, where, limits.depth)):
                limits.require("tensors", count, where=where)
                _require_plain_attributes(h5py, item, f"{where}: {name}")
                if isinstance(item, h5py.Dataset):
                    _require_plain(h5py, item, f"{where}: {name}", limits)
                    numbers += int(item.size or 0)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, (UnsafeContent, LimitExceeded, FormatRefused)):
            raise
        raise FormatRefused(f"{where}: not a readable HDF5 file: {error}") from error
    return numbers


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


def _require_plain_attributes(h5py: Any, item: Any, where: str) -> None:
    """Demand numbers and text: the library crashes on some others when their heap is damaged."""
    kinds = h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM
    for key in item.attrs:
        if item.attrs.get_id(key).get_type().get_class() not in kinds:
            raise _unsafe("hdf5-attribute", f"{where}: attribute {key} is no number or text", key)


def _require_plain(h5py: Any, item: Any, where: str, limits: Limits) -> None:
    if item.external or item.is_virtual:
        raise _unsafe("hdf5-external", f"{where}: its data lies in another file", where)
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


def _unsafe(rule: str, message: str, where: str) -> UnsafeContent:
    return UnsafeContent(f"{message}; save the weights again without it", rule=rule, where=where)
