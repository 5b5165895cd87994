"""TensorFlow Lite scanner: tables inside the file, known operators, tensors that fit their buffers.

Source: `tensorflow/lite/schema/schema.fbs`, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import Final

from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.flatbuffers import FlatTables
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count, shown
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, unlisted

_CUSTOM: Final = 32  # BuiltinOperator; schema.fbs
_FLEX: Final = "Flex"
_KNOWN_CUSTOM: Final = frozenset(
    {"TFLite_Detection_PostProcess", "Convolution2DTransposeBias", "MaxPoolingWithArgmax2D",
     "MaxUnpooling2D", "AudioSpectrogram", "Mfcc", "RFFT2D"}
)  # fmt: skip
"""Custom operators that the TensorFlow Lite library implements."""
_BYTES: Final = {
    0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 15: 4, 16: 2,
}  # fmt: skip
"""TensorType → bytes of an element."""
_MODEL_CODES, _MODEL_GRAPHS, _MODEL_BUFFERS = 1, 2, 4


def examine_tflite(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check tables, indices, buffers and operators; `allowed`: custom operators."""
    with source.stream() as stream:
        tables = FlatTables(stream.read(), source.name, limits)
    try:
        findings = tuple(_examine(tables, source.name, allowed))
    except struct.error as error:
        raise FormatRefused(f"{source.name}: a table that leaves the file: {error}") from error
    return Examination(findings=findings)


def _examine(tables: FlatTables, artifact: str, allowed: Collection[str]) -> Iterator[Finding]:
    root = tables.root()
    codes = 0
    for code in tables.tables(root, _MODEL_CODES):
        codes += 1
        builtin = max(tables.scalar(code, 0, "<b"), tables.scalar(code, 3, "<i"))
        name = tables.text(code, 1)
        if builtin == _CUSTOM and not _known(name) and name not in allowed:
            yield unlisted(
                "tflite-operator",
                f"uses operator {name!r}, which is not on the allowlist or needs a library outside "
                "the file",
                name,
                where=name,
                artifact=artifact,
                severity=Severity.HIGH,
            )
    buffers = [_buffer(tables, at) for at in tables.tables(root, _MODEL_BUFFERS)]
    for graph in tables.tables(root, _MODEL_GRAPHS):
        _require_graph(tables, graph, codes, buffers, artifact)


def _known(name: str) -> bool:
    if name.startswith(_FLEX):
        return name.removeprefix(_FLEX) in listed("tensorflow")
    return name in _KNOWN_CUSTOM


def _buffer(tables: FlatTables, at: int) -> int:
    _, inline = tables.span(at, 0, 1)
    offset, size = tables.scalar(at, 1, "<Q"), tables.scalar(at, 2, "<Q")
    if offset > 1:
        tables.require_range(offset, size)
        return size
    return inline


def _require_graph(
    tables: FlatTables, graph: int, codes: int, buffers: list[int], artifact: str
) -> None:
    count = 0
    for tensor in tables.tables(graph, 0):
        count += 1
        buffer = tables.scalar(tensor, 2, "<I")
        tables.require(lambda n: n < len(buffers), [buffer], "buffer")
        shape, kind = tables.numbers(tensor, 0), tables.scalar(tensor, 1, "<b")
        sparse = tables.field(tensor, 6) is not None
        if min(shape, default=0) < 0:
            raise FormatRefused(f"{artifact}: a tensor with a negative dimension: {shown(shape)}")
        need = element_count(shape, most=buffers[buffer]) * _BYTES.get(kind, 0)
        if buffers[buffer] and kind in _BYTES and not sparse and need != buffers[buffer]:
            raise FormatRefused(
                f"{artifact}: a tensor of shape {shown(shape)}: expected a size of "
                f"{buffers[buffer]} bytes, as its buffer has, got another"
            )
    for index in (1, 2):
        tables.require(lambda n: 0 <= n < count, tables.numbers(graph, index), "tensor")
    for operator in tables.tables(graph, 3):
        tables.require(lambda n: n < codes, [tables.scalar(operator, 0, "<I")], "operator")
        for index in (1, 2):
            tables.require(lambda n: -1 <= n < count, tables.numbers(operator, index), "tensor")
