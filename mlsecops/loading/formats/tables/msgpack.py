"""MessagePack scanner: Flax parameters, and other values whose lengths the file holds.

Source: MessagePack specification, "Formats"; Flax `flax/serialization.py`, `_MsgpackExtType`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.errors import LimitExceeded
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

FLAX_TYPES: Final = frozenset({1, 2, 3})
"""Extension types of Flax: array, complex number, NumPy scalar."""
_TIMESTAMP: Final = -1  # extension type; MessagePack specification, "Timestamp extension type"
_FIXED: Final = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8} | {
    0xCC + n: 1 << (n % 4) for n in range(8)
}
"""First byte → bytes of the value: nil, booleans, floats, unsigned and signed integers."""
_LENGTH: Final = {
    0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I",
}  # fmt: skip
"""First byte of bytes and text → form of their length."""
_COUNT: Final = {0xDC: (">H", 1), 0xDD: (">I", 1), 0xDE: (">H", 2), 0xDF: (">I", 2)}
"""First byte of an array or map → form of its count, and values of an item."""
_EXTENSION: Final = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_FIXED_EXTENSION: Final = range(0xD4, 0xD9)


def examine_msgpack(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Step over every value; extension types that Flax does not define are unchecked."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        kinds = skip_value(cursor, limits)
        cursor.require_end()
    odd = sorted(kinds - FLAX_TYPES - {_TIMESTAMP})
    return Examination(
        unchecked=tuple(
            Unchecked(what=source.name, why=f"values of extension type {each} of MessagePack")
            for each in odd
        )
    )


def skip_value(cursor: Cursor, limits: Limits) -> set[int]:
    """Step over one value with everything in it; the extension types in it.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It has too many values, or they are nested too deeply.
    """
    kinds: set[int] = set()
    waiting, values = [1], 0
    while waiting:
        if waiting[-1] == 0:
            waiting.pop()
            continue
        waiting[-1] -= 1
        values += 1
        if values > limits.opcodes or len(waiting) > limits.depth:
            raise LimitExceeded(f"byte {cursor.at}: too many values, or nested too deeply")
        count = _step(cursor, kinds)
        if count > cursor.left:
            raise cursor.malformed(f"at most {cursor.left} values, got {count}")
        if count:
            waiting.append(count)
    return kinds


def _step(cursor: Cursor, kinds: set[int]) -> int:
    """Step over one value; the number of values inside it, which follow."""
    first = cursor.number(">B")
    if first < 0x80 or first >= 0xE0:  # noqa: PLR2004 - fixint, MessagePack specification
        return 0
    if first < 0xA0:  # noqa: PLR2004 - fixmap and fixarray, as above
        return (first & 0x0F) * (2 if first < 0x90 else 1)  # noqa: PLR2004 - as above
    if first < 0xC0:  # noqa: PLR2004 - fixstr, as above
        cursor.skip(first & 0x1F)
    elif first in _FIXED:
        cursor.skip(_FIXED[first])
    elif first in _LENGTH:
        cursor.skip(cursor.number(_LENGTH[first]))
    elif first in _COUNT:
        form, width = _COUNT[first]
        return cursor.number(form) * width
    elif first in _EXTENSION or first in _FIXED_EXTENSION:
        fixed = first in _FIXED_EXTENSION
        size = 1 << (first - _FIXED_EXTENSION[0]) if fixed else cursor.number(_EXTENSION[first])
        kinds.add(cursor.number(">b"))
        cursor.skip(size)
    else:
        raise cursor.malformed(f"a value of MessagePack, got byte {first:#x}")
    return 0
