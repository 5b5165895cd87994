"""Scanners of Paddle's and MXNet's weights: tensors that fill the file exactly.

Source: Paddle `paddle/fluid/framework/lod_tensor.cc`, `SerializeToStream`; MXNet
`src/ndarray/ndarray.cc`, `NDArray::Save`.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Final

from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.containers.protobuf import ProtobufReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_PADDLE_ITEM: Final = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
"""`VarType.Type` → bytes of an item."""
_LEVELS: Final = 8  # levels of detail; chosen: real models have none
_MXNET_V2, _MXNET_V3 = 0xF993FAC9, 0xF993FACA
_MXNET_ITEM: Final = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1, 12: 2}
"""mshadow's type flag → bytes of an item."""


def examine_paddle_weights(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Step over every tensor."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        count = 0
        while cursor.left:
            count += 1
            limits.require("tensors", count, where=source.name)
            _paddle_tensor(cursor, source.name, limits)
    return Examination()


def _paddle_tensor(cursor: Cursor, where: str, limits: Limits) -> None:
    version, levels = cursor.numbers("<IQ")
    if version or levels > _LEVELS:
        raise cursor.malformed("a tensor of version 0")
    for _level in range(levels):
        cursor.skip(cursor.number("<Q"))
    if cursor.number("<I"):
        raise cursor.malformed("a tensor of version 0")
    data = cursor.take(cursor.number("<i"))
    reader = ProtobufReader(io.BytesIO(data), len(data), where=where, limits=limits)
    kind, shape = -1, list[int]()
    for field in reader.fields(reader.whole):
        if field.number == 1:
            kind = field.value
        elif field.number == 2:  # noqa: PLR2004 - `dims`
            shape += reader.numbers(field)
    if kind not in _PADDLE_ITEM:
        raise cursor.malformed(f"a tensor of a known type, got {kind}")
    cursor.skip(element_count(shape, most=cursor.left) * _PADDLE_ITEM[kind])


def examine_mxnet_weights(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Step over every dense array and its name."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        *_head, count = cursor.numbers("<QQQ")
        if count > cursor.left:
            raise cursor.malformed(f"{count} arrays")
        limits.require("tensors", count, where=source.name)
        for _number in range(count):
            if cursor.number("<I") not in {_MXNET_V2, _MXNET_V3} or cursor.number("<i") != 0:
                return not_checked(source.name, "arrays of MXNet that are sparse or older")
            shape = [cursor.number("<q") for _dimension in range(cursor.number("<i"))]
            if any(each < 0 for each in shape):
                raise cursor.malformed("a shape")
            cursor.skip(8)  # kind and number of the device
            kind = cursor.number("<i")
            if kind not in _MXNET_ITEM:
                raise cursor.malformed(f"an array of a known type, got {kind}")
            cursor.skip(element_count(shape, most=cursor.left) * _MXNET_ITEM[kind])
        for _number in range(cursor.number("<Q")):
            cursor.skip(cursor.number("<Q"))
        cursor.require_end()
    return Examination()
