"""Streaming reader of protocol buffers: fields of a message, bounded by the message.

A stream and a range come in; fields go out. Values are decoded on request only, so a tensor of
gigabytes costs one seek.

Source: Protocol Buffers Documentation, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading.limits import Limits

VARINT: Final = 0  # wire type; Encoding, "Message Structure"
BYTES: Final = 2  # wire type; as above
_GROUP, _GROUP_END = 3, 4
_FIXED: Final = {1: 8, 5: 4}
"""Wire type of a fixed-length value → bytes."""
_LONGEST_VARINT: Final = 10  # bytes; Encoding, "Base 128 Varints"
_LONGEST_HEAD: Final = 20  # bytes; a tag and a value or length, two varints
_MORE: Final = 0x80  # bit; continuation bit of a varint


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: a number, or a range of bytes.

    Attributes:
        number: Field number in the message.
        kind: Wire type.
        value: Value of a varint; 0 otherwise.
        start: Offset of its bytes in the stream.
        end: Offset after them.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int


class ProtobufReader:
    r"""Reader of the messages in one stream.

    Args:
        stream: Seekable bytes.
        size: Number of bytes.
        where: Name for messages.
        limits: Limits of the fields, of the nesting and of text that is read.

    Examples:
        >>> import io
        >>> reader = ProtobufReader(io.BytesIO(b"\x0a\x02hi"), 4, where="a.pb", limits=Limits())
        >>> [reader.text(field) for field in reader.fields(reader.whole)]
        ['hi']
    """

    def __init__(self, stream: BinaryIO, size: int, *, where: str, limits: Limits) -> None:
        self._stream, self._where, self._limits = stream, where, limits
        self._fields, self._pace = 0, Pace(where)
        self.whole = Field(number=0, kind=BYTES, value=0, start=0, end=size)

    def fields(self, message: Field, *, depth: int = 0) -> Iterator[Field]:
        """Fields of a message, in their order.

        Args:
            message: A field of bytes; `whole` for the outermost.
            depth: Its nesting level.

        Raises:
            FormatRefused: They do not fill the message exactly.
            LimitExceeded: There are too many, or they are nested too deeply.
        """
        if message.kind != BYTES:
            raise self._malformed(message.start, "a message, got a number")
        if depth > self._limits.depth:
            raise LimitExceeded(f"{self._where}: messages nested deeper than {self._limits.depth}")
        at = message.start
        while at < message.end:
            found = self._field(at, message.end, depth)
            yield found
            at = found.end

    def select(self, message: Field, *numbers: int, depth: int) -> Iterator[Field]:
        """Fields at a path of field numbers, one for each level; raises what `fields` does."""
        for field in self.fields(message, depth=depth):
            if field.number == numbers[0]:
                if len(numbers) == 1:
                    yield field
                else:
                    yield from self.select(field, *numbers[1:], depth=depth + 1)

    def last_text(self, message: Field, *numbers: int, depth: int) -> str:
        """Text of the last field at a path, which is the one that readers take; "" for none."""
        return "".join(map(self.text, [*self.select(message, *numbers, depth=depth)][-1:]))

    def read(self, field: Field) -> bytes:
        """Bytes of a small field.

        Raises:
            LimitExceeded: It is longer than `header_bytes`.
        """
        self._limits.require("header_bytes", field.end - field.start, where=self._where)
        self._stream.seek(field.start)
        return self._stream.read(field.end - field.start)

    def text(self, field: Field) -> str:
        """Text of a field; bytes that are not UTF-8 are escaped."""
        return self.read(field).decode("utf-8", "backslashreplace")

    def numbers(self, field: Field) -> list[int]:
        """Values of a repeated varint, in one field each or in one field together."""
        if field.kind == VARINT:
            return [field.value]
        data, found, at = self.read(field), [], 0
        while at < len(data):
            value, at = self._varint(data, at, field.start)
            found.append(value)
        return found

    def _field(self, at: int, end: int, depth: int) -> Field:
        self._fields += 1
        self._pace.step()
        if self._fields > self._limits.opcodes:
            raise LimitExceeded(f"{self._where}: over {self._limits.opcodes} fields")
        self._stream.seek(at)
        head = self._stream.read(min(_LONGEST_HEAD, end - at))
        tag, used = self._varint(head, 0, at)
        number, kind, value = tag >> 3, tag & 7, 0
        if kind == VARINT:
            value, used = self._varint(head, used, at)
            length = 0
        elif kind == BYTES:
            length, used = self._varint(head, used, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        elif kind == _GROUP:
            length = self._group(number, at + used, end, depth) - at - used
        else:
            raise self._malformed(at, f"a known wire type, got {kind}")
        start = at + used
        if number == 0 or length > end - start:
            raise self._malformed(at, f"at most {end - start} bytes for field {number}")
        return Field(number=number, kind=kind, value=value, start=start, end=start + length)

    def _group(self, number: int, at: int, end: int, depth: int) -> int:
        """End of a group, a deprecated kind of message that readers skip."""
        if depth > self._limits.depth:
            raise LimitExceeded(f"{self._where}: groups nested deeper than {self._limits.depth}")
        while at < end:
            self._stream.seek(at)
            tag, used = self._varint(self._stream.read(min(_LONGEST_VARINT, end - at)), 0, at)
            if tag == number << 3 | _GROUP_END:
                return at + used
            at = self._field(at, end, depth + 1).end
        raise self._malformed(at, "the end of a group")

    def _varint(self, data: bytes, at: int, place: int) -> tuple[int, int]:
        value = 0
        for index, byte in enumerate(data[at : at + _LONGEST_VARINT]):
            value |= (byte & 0x7F) << (7 * index)
            if byte < _MORE:
                return value & (1 << 64) - 1, at + index + 1
        raise self._malformed(place, "a number that ends")

    def _malformed(self, at: int, expected: str) -> FormatRefused:
        return FormatRefused(f"{self._where}: byte {at}: malformed message: expected {expected}")
