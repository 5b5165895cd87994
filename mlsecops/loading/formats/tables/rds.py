"""R object scanner (`.rds`, `.rda`): promises and byte code, which R runs when they are used.

Source: R Internals, 1.8 "Serialization Formats"; `src/main/serialize.c`; CVE-2024-27322.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked, not_checked

_SYMBOL, _PAIRS, _CLOSURE, _ENVIRONMENT, _PROMISE, _LANGUAGE = 1, 2, 3, 4, 5, 6
_SPECIAL, _BUILTIN, _TEXT, _LOGICAL, _DOTS, _BYTE_CODE = 7, 8, 9, 10, 17, 21
_POINTER, _WEAK, _OBJECT = 22, 23, 25
_FOLLOWED: Final = {_SYMBOL: 1, _ENVIRONMENT: 4, _POINTER: 2, _WEAK: 0, _OBJECT: 0}
"""Type of an object without data → objects that follow it, attributes left out."""
_ITEM: Final = {_LOGICAL: 4, 13: 4, 14: 8, 15: 16, 24: 1}
"""Type of a vector → bytes of an item: logical, integer, double, complex, raw."""
_LISTS: Final = frozenset({16, 19, 20})
"""Types of vectors of objects: text, list, expression."""
_SINGLE: Final = frozenset({254, 253, 252, 251, 250, 242, 241})
"""Nil, unbound, missing argument, and the global, empty and base environments."""
_NAMES: Final = frozenset({249, 248, 247})
"""Environments by name: of a namespace, of a package, of an application."""
_REFERENCE, _ALTERNATIVE = 255, 238
_ATTRIBUTES, _TAG = 0x200, 0x400
_CODE: Final = {
    _CLOSURE: ("r-function", "holds a function, which runs when it is called", Severity.INFO),
    _PROMISE: (
        "r-promise", "holds a promise, whose expression runs when it is read", Severity.CRITICAL
    ),
}  # fmt: skip
"""Type of an object that is code → rule, message and severity."""


def examine_rds(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Walk every object of a file in R's binary form; functions are named."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        if cursor.take(2) == b"RD":
            cursor.skip(3)
            cursor.skip(2)
        version = cursor.number(">i")
        cursor.skip(8)  # versions of R
        if version not in {2, 3}:
            return not_checked(source.name, f"R's serialization of version {version}")
        if version == 3:  # noqa: PLR2004 - the version that names its encoding
            cursor.skip(cursor.number(">i"))
        walk = _Walk(cursor, source.name, limits)
        walk.run()
    return Examination(findings=tuple(walk.findings.values()), unchecked=walk.unchecked)


class _Walk:
    """Traversal of the objects, by the number of those that follow at each level."""

    def __init__(self, cursor: Cursor, where: str, limits: Limits) -> None:
        self.findings: dict[str, Finding] = {}
        self.unchecked: tuple[Unchecked, ...] = ()
        self._cursor, self._where, self._limits = cursor, where, limits

    def run(self) -> None:
        left, objects = 1, 0
        while left:
            objects += 1
            if objects > self._limits.opcodes:
                raise LimitExceeded(f"{self._where}: over {self._limits.opcodes} objects of R")
            if self.unchecked:
                return
            left += self._object() - 1
            if left > self._cursor.left:
                raise FormatRefused(f"{self._where}: {left} objects and the file ends")

    def _object(self) -> int:
        """Step over an object; the number of those inside it."""
        flags = self._cursor.number(">I")
        kind, attributes, tag = flags & 0xFF, bool(flags & _ATTRIBUTES), bool(flags & _TAG)
        if kind == _BYTE_CODE:
            why = f"byte code at byte {self._cursor.at}, and what follows it"
            self.unchecked = (Unchecked(what=self._where, why=why),)
            return 0
        if kind in _SINGLE:
            return 0
        if kind == _REFERENCE:
            self._cursor.skip(0 if flags >> 8 else 4)
            return 0
        if kind in {_PAIRS, _LANGUAGE, _CLOSURE, _PROMISE, _DOTS}:
            if kind in _CODE:
                self._find(*_CODE[kind])
            return 2 + attributes + tag
        if kind == _ALTERNATIVE:
            return 3  # class, state, attributes
        return self._value(kind, attributes=attributes)

    def _value(self, kind: int, *, attributes: bool) -> int:
        cursor = self._cursor
        if kind in _FOLLOWED:
            cursor.skip(4 if kind == _ENVIRONMENT else 0)
            return _FOLLOWED[kind] + (attributes and kind in {_POINTER, _WEAK, _OBJECT})
        if kind in {_TEXT, _SPECIAL, _BUILTIN}:
            cursor.skip(max(cursor.number(">i"), 0))
            return 0
        if kind in _ITEM:
            cursor.skip(cursor.number(">I") * _ITEM[kind])
            return int(attributes)
        if kind in _LISTS:
            return cursor.number(">I") + attributes
        if kind in _NAMES:
            cursor.skip(4)
            return cursor.number(">I")
        raise cursor.malformed(f"an object of R, got type {kind}")

    def _find(self, rule: str, message: str, severity: Severity) -> None:
        self.findings.setdefault(
            rule,
            Finding(
                rule=rule,
                severity=severity,
                message=message,
                where=f"byte {self._cursor.at}",
                artifact=self._where,
            ),
        )
