"""FlatBuffers reader that checks each offset: tables, vectors and texts inside the file.

Source: FlatBuffers "Internals" (binary format).
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source


class FlatTables:
    """Reader of a flat buffer's tables that checks each offset."""

    def __init__(self, data: bytes | mmap.mmap, where: str, limits: Limits) -> None:
        self._data, self._where, self._limits = data, where, limits
        self._seen, self._pace = 0, Pace(where)

    def root(self) -> int:
        """Offset of the root table."""
        return self._inside(self.number(0, "<I"))

    def number(self, at: int, form: str) -> int:
        """A number in `struct`'s notation."""
        if at < 0:
            raise FormatRefused(f"{self._where}: an offset before the file")
        return int(struct.unpack_from(form, self._data, at)[0])

    def field(self, table: int, index: int) -> int | None:
        """Offset of a table's field; None for a field that is absent."""
        self._seen += 1
        self._pace.step()
        if self._seen > self._limits.opcodes:
            raise LimitExceeded(f"{self._where}: over {self._limits.opcodes} fields")
        vtable = table - self.number(table, "<i")
        if 4 + 2 * index >= self.number(vtable, "<H"):
            return None
        offset = self.number(vtable + 4 + 2 * index, "<H")
        return table + offset if offset else None

    def scalar(self, table: int, index: int, form: str) -> int:
        """Number of a field; 0 where it is absent."""
        at = self.field(table, index)
        return 0 if at is None else self.number(at, form)

    def span(self, table: int, index: int, item: int) -> tuple[int, int]:
        """Offset of a vector's items, and their number."""
        at = self.field(table, index)
        if at is None:
            return 0, 0
        start = self._inside(at + self.number(at, "<I"))
        count = self.number(start, "<I")
        self.require_range(start + 4, count * item)
        return start + 4, count

    def numbers(self, table: int, index: int) -> tuple[int, ...]:
        """Vector of 32-bit numbers."""
        start, count = self.span(table, index, 4)
        self._pace.step(1 + count // 100)  # tables may share one long vector
        return struct.unpack_from(f"<{count}i", self._data, start)

    def tables(self, table: int, index: int) -> Iterator[int]:
        """Offsets of a vector's tables."""
        start, count = self.span(table, index, 4)
        self._limits.require("tensors", count, where=self._where)
        for at in range(start, start + 4 * count, 4):
            yield self._inside(at + self.number(at, "<I"))

    def text(self, table: int, index: int) -> str:
        """Text of a field."""
        start, count = self.span(table, index, 1)
        self._pace.step(1 + count // 1000)
        return self._data[start : start + count].decode("utf-8", "backslashreplace")

    def require(self, holds: Callable[[int], bool], numbers: Collection[int], what: str) -> None:
        """Demand that something holds for each number."""
        for number in numbers:
            if not holds(number):
                raise FormatRefused(f"{self._where}: no {what} has index {number}")

    def require_range(self, start: int, size: int) -> None:
        """Demand that a range lies in the file."""
        if start + size > len(self._data):
            raise FormatRefused(f"{self._where}: {size} bytes at {start} leave the file")

    def _inside(self, at: int) -> int:
        if at >= len(self._data):
            raise FormatRefused(f"{self._where}: an offset of {at} leaves the file")
        return at

    def table(self, table: int, index: int) -> int | None:
        """Offset of a field's table; None where it is absent."""
        at = self.field(table, index)
        return None if at is None else self._inside(at + self.number(at, "<I"))

    def texts(self, table: int, index: int) -> Iterator[str]:
        """Texts of a vector."""
        start, count = self.span(table, index, 4)
        for at in range(start, start + 4 * count, 4):
            place = self._inside(at + self.number(at, "<I"))
            length = self.number(place, "<I")
            self._pace.step(1 + length // 1000)
            self.require_range(place + 4, length)
            yield self._data[place + 4 : place + 4 + length].decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def flat_tables(source: Source, limits: Limits) -> Iterator[FlatTables]:
    """Reader of a file, whose bytes are mapped and not read into memory.

    Raises:
        FormatRefused: A table leaves the file.
    """
    if source.size == 0:
        raise FormatRefused(f"{source.name}: an empty file")
    with contextlib.ExitStack() as stack:
        data: bytes | mmap.mmap | None = source.content
        if data is None:
            stream = stack.enter_context(Path(source.path).open("rb"))
            data = stack.enter_context(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            yield FlatTables(data, source.name, limits)
        except struct.error as error:
            raise FormatRefused(f"{source.name}: a table that leaves the file: {error}") from error
