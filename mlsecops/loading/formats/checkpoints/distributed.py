"""Distributed checkpoint scanner: `.metadata`, and `.distcp` files of several torch archives.

`.metadata` → a pickle of tensors, and of ranges in the `.distcp` files that hold their chunks
`.distcp` → archives from its first byte to its last, each scanned like a torch file

Source: torch `distributed/checkpoint/metadata.py`, `filesystem.py` (`_StorageInfo`,
`FileSystemWriter`); PKWARE APPNOTE 6.3.10, sections 4.3.14 to 4.3.16.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.containers.zip_archive import StreamSlice
from mlsecops.loading.formats.onnx import require_relative
from mlsecops.loading.formats.pickles import examine_torch
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.stack import CallResult, Container
from mlsecops.loading.pickle_vm.walker import Walker
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, ExternalData, Unchecked

PACKAGE: Final = "torch.distributed.checkpoint"
_RANGE: Final = f"{PACKAGE}.filesystem._StorageInfo"
_TENSOR: Final = f"{PACKAGE}.metadata.TensorStorageMetadata"
_END: Final = b"PK\x05\x06"
_END_RECORD: Final = struct.Struct("<4s4H2LH")
_WIDE: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")


class _OwnSlice(StreamSlice):
    """Part of a file that is closed with it."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - closed by `close`
        super().__init__(self._file, start, size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePart(Source):
    """Bytes of a file from an offset on.

    Attributes:
        start: The offset.
    """

    start: int = 0

    def stream(self) -> BinaryIO:
        """Open the part at its start."""
        if self.content is not None:
            part = self.content[self.start : self.start + self.size]
            return io.BytesIO(part)
        return cast("BinaryIO", io.BufferedReader(_OwnSlice(self.path, self.start, self.size)))

    def head(self, count: int = 4096) -> bytes:
        """First bytes."""
        with self.stream() as stream:
            return stream.read(count)


def examine_shard(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Scan each archive of a `.distcp` file."""
    found, end = Examination(), 0
    for count, part in enumerate(archives(source)):
        limits.require("tensors", count + 1, where=source.name)
        found |= examine_torch(part, limits, audited)
        end = part.start + part.size
    if end != source.size:
        why = f"{source.size - end} bytes at {end} that are no archive of torch"
        found |= Examination(unchecked=(Unchecked(what=source.name, why=why),))
    return found


def archives(source: Source) -> Iterator[SourcePart]:
    """The archives that follow each other from the first byte of a file."""
    with Path(source.path).open("rb") as stream:
        if source.size == 0:
            return
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = 0
            while start < source.size:
                end = _end_of_archive(data, start)
                if end is None:
                    return
                yield SourcePart(
                    name=source.name,
                    path=source.path,
                    size=end - start,
                    content=source.content,
                    start=start,
                )
                start = end


def _end_of_archive(data: mmap.mmap, start: int) -> int | None:
    """Offset behind the first archive from a position on, or None."""
    at = data.find(_END, start)
    while 0 <= at <= len(data) - _END_RECORD.size:
        size, offset = _END_RECORD.unpack_from(data, at)[5:7]
        directory_end = at
        record = at - _LOCATOR.size - _WIDE.size
        if record >= start and data[record : record + 4] == b"PK\x06\x06":
            size, offset = _WIDE.unpack_from(data, record)[-2:]
            directory_end = record
        if start + offset + size == directory_end:  # its own checks follow when it is scanned
            return at + _END_RECORD.size
        at = data.find(_END, at + 1)
    return None


class _Listing(Walker):
    """Walker that keeps the ranges and the tensors of a checkpoint."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ranges: list[dict[str, Any]] = []
        self.shapes: list[Any] = []

    def _set_state(self, target: CallResult, state: object) -> None:
        super()._set_state(target, state)
        if isinstance(state, Container):
            if target.name == _RANGE:
                self.ranges.append(state.items)
            elif target.name == _TENSOR:
                self.shapes.append(state.items.get("size"))


def examine_metadata(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Scan the pickle, and list the ranges that it refers to."""
    names = pickle_globals() | frozenset(audited)
    walker = _Listing(
        allowed=names, limits=limits, artifact=source.name, where="pickle", audited=audited
    )
    with source.stream() as stream:
        data = io.BytesIO(stream.read(limits.header_bytes + 1))
    limits.require("header_bytes", source.size, where=source.name)
    if walker.run(data).end != source.size:
        raise FormatRefused(f"{source.name}: bytes after the pickle's end")
    external, stored = _ranges(walker.ranges, source.name)
    for size in walker.shapes:
        _require_stored(size, stored, source.name)
    changed = any(each.get("transform_descriptors") is not None for each in walker.ranges)
    why = "chunks that an extension compressed or changed"
    unchecked = [*walker.walk.unchecked.values()]
    return Examination(
        findings=tuple(walker.walk.findings),
        unchecked=(*unchecked, *((Unchecked(what=source.name, why=why),) if changed else ())),
        globals=frozenset(walker.walk.globals),
        external=external,
    )


def _ranges(items: list[dict[str, Any]], where: str) -> tuple[tuple[ExternalData, ...], int]:
    """Files with the bytes that they must have, and all bytes of the ranges."""
    ends: dict[str, int] = {}
    stored = 0
    for each in items:
        name = each.get("relative_path")
        offset, length = (each.get(key, -1) for key in ("offset", "length"))
        numbers = type(offset) is int and type(length) is int and min(offset, length) >= 0
        if not isinstance(name, str) or not numbers:
            raise FormatRefused(f"{where}: a range without a file, an offset and a length")
        require_relative(name, artifact=where, tensor="its list of ranges")
        ends[name] = max(ends.get(name, 0), offset + length)
        stored += length
    external = (ExternalData(name=name, end=end, scanned=True) for name, end in ends.items())
    return tuple(external), stored


def _require_stored(size: Any, stored: int, where: str) -> None:
    """Demand that a tensor has no more elements than the ranges have bytes."""
    shape = size.arguments[0] if isinstance(size, CallResult) and size.arguments else None
    plain = isinstance(shape, tuple) and all(type(each) is int and each >= 0 for each in shape)
    if not plain:
        raise UnsafeContent(
            f"{where}: a tensor whose size is computed", rule="pickle-state", where=where
        )
    if element_count(cast("tuple[int, ...]", shape), most=stored) > stored:
        raise LimitExceeded(f"{where}: a tensor of more elements than the {stored} bytes stored")
