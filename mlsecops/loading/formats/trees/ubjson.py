"""UBJSON reader for XGBoost's binary models: values up to a limit of memory and depth.

Source: Universal Binary JSON, draft 12; XGBoost `src/common/json.cc`, `UBJReader`.
"""

from __future__ import annotations

import array
import sys
from typing import Any, Final

from mlsecops.errors import LimitExceeded
from mlsecops.loading.containers.cursor import Cursor

_INTEGERS: Final = {b"U": ">B", b"i": ">b", b"I": ">h", b"l": ">i", b"L": ">q"}
_REALS: Final = {b"d": ">f", b"D": ">d"}
_PLAIN: Final = {b"Z": None, b"T": True, b"F": False}
_TYPED: Final = {
    b"d": "f", b"D": "d", b"U": "B", b"i": "b", b"I": "h", b"l": "i", b"L": "q",
}  # fmt: skip
"""Marker of a typed array's items → type code of Python's `array`."""


class UbJsonReader:
    """Reader of one value.

    Args:
        cursor: Positioned at the value.
        depth: Nesting levels at most.
        values: Values at most, items of typed arrays left out.
    """

    def __init__(self, cursor: Cursor, *, depth: int, values: int) -> None:
        self._cursor, self._depth, self._left = cursor, depth, values

    def value(self, level: int = 0) -> Any:
        """The next value.

        Raises:
            FormatRefused: It is malformed.
            LimitExceeded: It has too many values, or they are nested too deeply.
        """
        return self._of(self._cursor.take(1), level)

    def _of(self, marker: bytes, level: int) -> Any:
        self._left -= 1
        if level > self._depth or self._left < 0:
            raise LimitExceeded(f"byte {self._cursor.at}: too many values, or nested too deeply")
        if marker in _PLAIN:
            return _PLAIN[marker]
        if marker in _INTEGERS:
            return self._cursor.number(_INTEGERS[marker])
        if marker in _REALS:
            return self._cursor.numbers(_REALS[marker])[0]
        if marker == b"S":
            return self._text(self._cursor.take(1))
        if marker == b"C":
            return self._cursor.take(1).decode("latin1")
        if marker == b"[":
            return self._list(level + 1)
        if marker == b"{":
            return self._object(level + 1)
        raise self._cursor.malformed(f"a marker of UBJSON, got {marker!r}")

    def _length(self, marker: bytes) -> int:
        if marker not in _INTEGERS:
            raise self._cursor.malformed(f"a length, got {marker!r}")
        return self._cursor.number(_INTEGERS[marker])

    def _text(self, marker: bytes) -> str:
        return self._cursor.take(self._length(marker)).decode("utf-8", "backslashreplace")

    def _list(self, level: int) -> Any:
        marker = self._cursor.take(1)
        if marker == b"$":
            return self._typed()
        items: list[Any] = []
        if marker == b"#":
            count = self._length(self._cursor.take(1))
            return [self.value(level) for _ in range(count)]
        while marker != b"]":
            items.append(self._of(marker, level))
            marker = self._cursor.take(1)
        return items

    def _typed(self) -> Any:
        kind, hash_sign = self._cursor.take(1), self._cursor.take(1)
        if kind not in _TYPED or hash_sign != b"#":
            raise self._cursor.malformed(f"a typed array with a length, got {kind!r}")
        items = array.array(_TYPED[kind])
        items.frombytes(self._cursor.take(self._length(self._cursor.take(1)) * items.itemsize))
        if sys.byteorder == "little":
            items.byteswap()
        return items

    def _object(self, level: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (marker := self._cursor.take(1)) != b"}":
            key = self._text(marker)
            if key in found:
                raise self._cursor.malformed(f"unique keys, got {key[:80]!r} twice")
            found[key] = self.value(level)
        return found
