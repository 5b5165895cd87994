"""Sequential reader of a binary file that never leaves it, and says where it is malformed."""

from __future__ import annotations

import struct
from typing import BinaryIO

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused
from mlsecops.loading.limits import Limits


class Cursor:
    r"""Position in a stream of known size; every read is checked against what is left.

    Args:
        stream: The bytes, positioned at their start.
        size: Number of bytes.
        where: Name for messages.
        limits: Largest text and number of items.

    Examples:
        >>> import io
        >>> cursor = Cursor(io.BytesIO(b"\2\0ab"), 4, where="m.bin", limits=Limits())
        >>> cursor.text("<H"), cursor.left
        ('ab', 0)
    """

    def __init__(self, stream: BinaryIO, size: int, *, where: str, limits: Limits) -> None:
        self.at = 0
        self.size, self._stream, self._where, self._limits = size, stream, where, limits
        self._pace = Pace(where)

    @property
    def left(self) -> int:
        """Bytes behind the position."""
        return self.size - self.at

    def take(self, count: int) -> bytes:
        """Bytes, in memory.

        Raises:
            FormatRefused: The file ends before.
            LimitExceeded: They are more than `header_bytes`.
        """
        self._require(count)
        self._limits.require("header_bytes", count, where=self._where)
        self.at += count
        return self._stream.read(count)

    def skip(self, count: int) -> None:
        """Step over bytes that are not read."""
        self._require(count)
        self.at += count
        self._stream.seek(self.at)

    def number(self, form: str) -> int:
        """A whole number in `struct`'s notation."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def numbers(self, form: str) -> tuple[int, ...]:
        """Several numbers in `struct`'s notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self, form: str) -> str:
        """Text behind its length."""
        return self.take(self.number(form)).decode("utf-8", "backslashreplace")

    def until(self, end: bytes, *, most: int) -> bytes:
        """Bytes up to the next `end`, which is stepped over.

        Raises:
            FormatRefused: It is not among the next `most` bytes.
        """
        self._pace.step()
        data = self._stream.read(min(most, self.left))
        found, _, _ = data.partition(end)
        if len(found) == len(data):
            raise self.malformed(f"{end!r} within {most} bytes")
        self.at += len(found) + len(end)
        self._stream.seek(self.at)
        return found

    def require_end(self) -> None:
        """Demand that nothing follows."""
        if self.left:
            raise self.malformed(f"the end of the file, got {self.left} more bytes")

    def malformed(self, expected: str) -> FormatRefused:
        """Error at the position."""
        return FormatRefused(f"{self._where}: byte {self.at}: expected {expected}")

    def _require(self, count: int) -> None:
        self._pace.step()
        if not 0 <= count <= self.left:
            raise self.malformed(f"{count} more bytes, and the file has {self.left}")
