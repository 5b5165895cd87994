"""Safetensors header check: tensors that cover the file exactly.

Source: safetensors README, "Format" (8-byte little-endian length, JSON header, tensors that
cover the rest without gap or overlap).
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused
from mlsecops.loading.allowed.tensor_types import SAFETENSORS_BITS
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count, shown
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

_NO_READER: Final = frozenset({"F6_E2M3", "F6_E3M2"})
"""Data types of the specification that no framework reads (safetensors `torch.py`, `_TYPES`)."""
_PAIRS: Final = "F4"
"""Data type of which frameworks read two elements as one."""
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
    unread = {_unread(value) for value in header.values()} - {""}
    for begin, end, name in sorted(_span(*item, source.name) for item in header.items()):
        if begin != at:
            raise FormatRefused(f"{source.name}: {name!r} overlaps another tensor or leaves a gap")
        at = end
    if LENGTH + length + at != source.size:
        raise FormatRefused(
            f"{source.name}: the header accounts for {LENGTH + length + at} bytes, "
            f"the file has {source.size}"
        )
    return Examination(
        unchecked=tuple(
            Unchecked(what=source.name, why=f"tensors of type {each[:20]}, which no reader knows")
            for each in sorted(unread)
        )
    )


def _unread(value: Any) -> str:
    """Data type of a tensor, where it is newer than the table or nobody reads it."""
    kind = value.get("dtype") if isinstance(value, dict) else None
    known = not isinstance(kind, str) or (kind in SAFETENSORS_BITS and kind not in _NO_READER)
    return "" if known else str(kind)


def _parse(text: bytes, where: str) -> dict[str, Any]:
    header = parse_object(text, what=f"{where}: header", error=FormatRefused)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatRefused(f"{where}: __metadata__ must map text to text")
    return header


def _span(name: str, value: Any, where: str) -> tuple[int, int, str]:
    try:
        kind, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatRefused(f"{where}: {name!r}: no dtype, shape and data_offsets") from error
    if not isinstance(kind, str) or not all(type(n) is int and n >= 0 for n in numbers):
        raise FormatRefused(f"{where}: {name!r}: dtype must be text, shape and offsets numbers")
    stored = max(0, end - begin) * 8
    fits = (
        kind not in SAFETENSORS_BITS
        or stored == element_count(shape, most=stored) * SAFETENSORS_BITS[kind]
    )
    if end < begin or not fits or (kind == _PAIRS and (not shape or shape[-1] % 2)):
        raise FormatRefused(
            f"{where}: {name!r}: {kind[:20]} of shape {shown(shape)}: expected {end - begin} "
            "bytes, as its offsets give, got another size"
        )
    return begin, end, name
