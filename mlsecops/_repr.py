"""Concise representations: one line of at most 200 characters for each public object.

    object → fields or named attributes → shortened values → `Class(name=value, …)`

A digest is shown as `sha256:<hex12>`, a collection as its size, an array as its shape and dtype,
another object as its class, `None` not at all. Secrets and object addresses are never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import Any, Final, TypeVar

__all__ = ["concise_repr", "concise_text", "one_line", "printable"]

_LIMIT: Final = 200  # characters; chosen: two lines of a terminal
_VALUE: Final = 48  # characters of one value; chosen: three long values and the names still fit
_SHOWN_INT: Final = 10**18  # chosen: a longer integer takes the room of other values
_SHOWN_NUMBERS: Final = 3  # chosen: an interval or an image's shape is shown, a list is not

_DIGEST: Final = re.compile(r"\b((?:(?:sha|blake)[0-9a-z-]{1,8}:)?[0-9a-f]{12})[0-9a-f]{20,}\b")
_LOGIN: Final = re.compile(r"://[^/\s]*@")
_QUERY: Final = re.compile(r"(://[^\s?#]*)[?#]\S*")
_SECRET: Final = re.compile(r"secret|passw|token|salt|api_?key|credential|authorization")

C = TypeVar("C", bound=type)


def concise_repr(*names: str) -> Callable[[C], C]:
    """Give the decorated class a concise `repr`.

    Args:
        names: Attributes to show, the most telling first; the fields of a dataclass by default.
            `"key.fingerprint"` is shown as `key`, and `"_tier"` as `tier`.
    """

    def decorate(cls: C) -> C:
        shown = names or _field_names(cls)

        def concise(self: object) -> str:
            parts = (_named(name, self) for name in shown)
            return _joined(type(self).__name__, (part for part in parts if part))

        concise.__name__, concise.__qualname__ = "__repr__", f"{cls.__qualname__}.__repr__"
        cls.__repr__ = concise  # type: ignore[assignment] # of whatever class this is
        return cls

    return decorate


def concise_text(text: str) -> str:
    """A quoted text without secrets, cut to a few words.

    Examples:
        >>> concise_text("redis://user:hunter2@host/0")
        "'redis://…@host/0'"
    """
    if "PRIVATE KEY" in text:
        return "<private key>"
    short = _QUERY.sub(r"\1?…", _LOGIN.sub("://…@", _DIGEST.sub(r"\1", text[: 2 * _LIMIT])))
    plain = repr(short)
    return plain if len(plain) <= _VALUE else f"{plain[: _VALUE - 2]}…{plain[0]}"


def one_line(text: str) -> str:
    """A text as one printable line of at most 200 characters."""
    line = repr(text[: 2 * _LIMIT])[1:-1]
    return line if len(line) <= _LIMIT else f"{line[: _LIMIT - 1]}…"


def printable(text: str) -> str:
    r"""A text on one line, with control, bidirectional and other unprintable characters escaped.

    Names and messages from outside could otherwise forge lines of a terminal, a log or a page.

    Examples:
        >>> printable("model\x1b[2J\npassed")
        'model\\x1b[2J\\npassed'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _field_names(cls: type) -> tuple[str, ...]:
    if not hasattr(cls, "__dataclass_fields__"):
        return ()
    from dataclasses import fields  # noqa: PLC0415 - a dataclass's module has imported it

    return tuple(each.name for each in fields(cls) if each.repr and not each.name.startswith("_"))


def _named(path: str, value: object) -> str:
    for name in path.split("."):
        value = getattr(value, name, None)
    name = path.partition(".")[0].lstrip("_")
    return "" if value is None else f"{name}={_value(path, value)}"


def _joined(name: str, parts: Iterable[str]) -> str:
    text = f"{name}("
    for number, part in enumerate(parts):
        separator = ", " if number else ""
        if len(text) + len(separator) + len(part) > _LIMIT - len(", …)"):
            return f"{text}{separator}…)"
        text += separator + part
    return f"{text})"


def _value(name: str, value: Any) -> str:
    if isinstance(value, str | bytes) and value and _SECRET.search(name):
        return "***"
    if isinstance(value, str):
        return concise_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
        return concise_text(text if len(text) < _VALUE else f"…{text[4 - _VALUE :]}")
    if isinstance(value, Enum):
        return value.name
    return _number(value) if isinstance(value, int | float) else _object(value)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if abs(value) < _SHOWN_INT else f"<{value.bit_length()}-bit integer>"


def _object(value: Any) -> str:
    kind = type(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        size = "×".join(map(str, value.shape))
        return f"<{size} {value.dtype}>"[:_VALUE] if size else repr(value.item())[:_VALUE]
    if isinstance(value, Collection) and not isinstance(value, type):
        return _size(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if kind.__module__.startswith("mlsecops.") and "__str__" in vars(kind):
        return concise_text(str(value))[1:-1]
    return str(getattr(value, "__qualname__", kind.__name__))[:_VALUE]


def _size(values: Collection[Any]) -> str:
    numbers = isinstance(values, tuple) and all(type(each) in {int, float} for each in values)
    if numbers and 0 < len(values) <= _SHOWN_NUMBERS:
        return f"({', '.join(map(_number, values))})"
    return f"<{len(values)} item{'' if len(values) == 1 else 's'}>"
