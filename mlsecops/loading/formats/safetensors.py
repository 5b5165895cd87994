"""Safetensors header check: tensors that cover the file exactly.

Source: safetensors README, "Format" (8-byte little-endian length, JSON header, tensors that
cover the rest without gap or overlap).
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count, shown
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16,
    "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
"""Data type → bits of an element (safetensors `tensor.rs`, `Dtype::bitsize`)."""
LENGTH: Final = 8  # bytes; safetensors README, "Format": u64 length of the header


def examine_safetensors(source: Source, limits: Limits) -> Examination:
    """Check the header against the file."""
    with source.stream() as stream:
        length = int.from_bytes(stream.read(LENGTH), "little")
        limits.require("header_bytes", length, where=source.name)
        text = stream.read(length)
    header = _parse(text, source.name)
    header.pop("__metadata__", None)
    limits.require("tensors", len(header), where=source.name)
    at = 0
    for begin, end, name in sorted(_span(*item, source.name) for item in header.items()):
        if begin != at:
            raise FormatRefused(f"{source.name}: {name!r} overlaps another tensor or leaves a gap")
        at = end
    if LENGTH + length + at != source.size:
        raise FormatRefused(
            f"{source.name}: the header accounts for {LENGTH + length + at} bytes, "
            f"the file has {source.size}"
        )
    return Examination()


def _parse(text: bytes, where: str) -> dict[str, Any]:
    header = parse_object(text, what=f"{where}: header", error=FormatRefused)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatRefused(f"{where}: __metadata__ must map text to text")
    return header


def _span(name: str, value: Any, where: str) -> tuple[int, int, str]:
    try:
        bits, shape, (begin, end) = BITS[value["dtype"]], value["shape"], value["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatRefused(f"{where}: {name!r}: no dtype, shape and data_offsets") from error
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise FormatRefused(f"{where}: {name!r}: shape and offsets must be whole numbers")
    stored = max(0, end - begin) * 8
    if end < begin or stored != element_count(shape, most=stored) * bits:
        raise FormatRefused(
            f"{where}: {name!r}: {value['dtype']} of shape {shown(shape)}: expected {end - begin} "
            "bytes, as its offsets give, got another size"
        )
    return begin, end, name
