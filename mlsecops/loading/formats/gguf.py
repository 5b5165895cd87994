"""GGUF header check: keys and tensors that fit the file, chat templates of the metadata.

Source: ggml `docs/gguf.md`, version 3; sizes of the tensor types from the `gguf` package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading.allowed.tensor_types import GGML_TYPES
from mlsecops.loading.formats.chat_templates import ChatTemplates
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

_SCALARS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Value type → bytes."""
_TEXT, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)
_MOST_DIMENSIONS: Final = 4  # dimensions; ggml.h, GGML_MAX_DIMS
_ALIGNMENT: Final = 32  # bytes; gguf.md, default of `general.alignment`


def examine_gguf(source: Source, limits: Limits) -> Examination:
    """Check every key and tensor against the file."""
    with source.stream() as stream:
        header = _Header(stream, source, limits)
        templates = header.read().items()
    scanner = ChatTemplates(source.name)
    result = Examination(
        unchecked=tuple(
            Unchecked(what=source.name, why=f"tensors of type {kind}, newer than the table")
            for kind in sorted(header.newer)
        )
    )
    for key, text in templates:
        result |= scanner.examine(text, key)
    return result


class _Header:
    """Sequential reader of a header, bounded by the file."""

    def __init__(self, stream: BinaryIO, source: Source, limits: Limits) -> None:
        self._templates: dict[str, str] = {}
        self.newer: set[int] = set()
        self._stream, self._source, self._limits = stream, source, limits
        self._end = min(source.size, limits.header_bytes)
        self._alignment = _ALIGNMENT
        self._values, self._pace = 0, Pace(source.name)
        self._at = 0

    def read(self) -> dict[str, str]:
        """Check the header; chat templates by key."""
        magic, version, tensors, keys = struct.unpack("<4sIQQ", self._take(24))
        if magic != b"GGUF" or version not in _VERSIONS:
            raise self._malformed(f"GGUF of version 2 or 3, little endian, got version {version}")
        self._limits.require("tensors", tensors, where=self._source.name)
        self._limits.require("tensors", keys, where=self._source.name)
        seen: set[str] = set()
        for _ in range(keys):
            key = self._text()
            if key in seen:
                raise self._malformed(f"unique keys, got {key!r} twice")
            seen.add(key)
            self._value(key, self._number("<I"), depth=0)
        self._require_disjoint([*self._tensors(tensors)])
        return self._templates

    def _value(self, key: str, kind: int, *, depth: int) -> None:
        self._values += 1
        self._pace.step()
        if self._values > self._limits.opcodes or depth > self._limits.depth:
            raise LimitExceeded(f"{self._source.name}: {key!r}: too many or too deep values")
        if kind == _TEXT and key.startswith("tokenizer.chat_template"):
            self._templates[key] = self._text()
        elif kind == _TEXT:
            self._skip(self._number("<Q"))
        elif kind == _ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SCALARS:
                self._skip(count * _SCALARS[inner])
                return
            if count * 8 > self._end - self._at:
                raise self._malformed(f"an array that fits, got {count} items of {key!r}")
            for _ in range(count):
                self._value(key, inner, depth=depth + 1)
        elif kind in _SCALARS:
            data = self._take(_SCALARS[kind])
            if key == "general.alignment":
                self._align(int.from_bytes(data, "little"))
        else:
            raise self._malformed(f"a known type for {key!r}, got {kind}")

    def _align(self, alignment: int) -> None:
        if not 1 <= alignment <= MIB or alignment & (alignment - 1):
            raise self._malformed(f"an alignment that is a power of two, got {alignment}")
        self._alignment = alignment

    def _tensors(self, count: int) -> Iterator[tuple[int, int, str]]:
        names: set[str] = set()
        for _ in range(count):
            self._pace.step()
            name, dimensions = self._text(), self._number("<I")
            if name in names or dimensions > _MOST_DIMENSIONS:
                raise self._malformed(f"unique tensors of at most 4 dimensions, got {name!r}")
            names.add(name)
            shape = [self._number("<Q") for _ in range(dimensions)]
            kind, offset = self._number("<I"), self._number("<Q")
            if offset % self._alignment:
                raise self._malformed(f"an aligned tensor, got {offset} for {name!r}")
            if kind not in GGML_TYPES:
                self.newer.add(kind)
                yield offset, offset, name
                continue
            block, size = GGML_TYPES[kind]
            elements = element_count(shape, most=self._source.size * block)
            if elements % block:
                raise self._malformed(f"whole blocks of {block}, got {shape} for {name!r}")
            yield offset, offset + elements // block * size, name

    def _require_disjoint(self, spans: list[tuple[int, int, str]]) -> None:
        start = -(-self._at // self._alignment) * self._alignment
        at = 0
        for begin, end, name in sorted(spans):
            if begin < at or start + end > self._source.size:
                raise FormatRefused(
                    f"{self._source.name}: tensor {name!r} overlaps another or leaves the file"
                )
            at = end

    def _text(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", "backslashreplace")

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _take(self, count: int) -> bytes:
        self._require(count)
        self._at += count
        return self._stream.read(count)

    def _skip(self, count: int) -> None:
        self._require(count)
        self._at += count
        self._stream.seek(self._at)

    def _require(self, count: int) -> None:
        if count > self._end - self._at:
            raise self._malformed(f"{count} more bytes of header, and the file or limit ends")

    def _malformed(self, expected: str) -> FormatRefused:
        return FormatRefused(f"{self._source.name}: byte {self._at}: expected {expected}")
