"""Argument checks: one of several names, several values, a type, a number in a range.

name of the argument + value → the value, or a `UsageError`: `name: expected X, got Y`
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from mlsecops.errors import UsageError

__all__ = [
    "callable_of",
    "number",
    "of_type",
    "one_of",
    "path_of",
    "several",
    "shown",
    "some_of",
    "whole",
]

T = TypeVar("T")
Kind: TypeAlias = type | tuple[type, ...] | str

_SHOWN: Final = 60  # characters of a wrong value; chosen: what fits one line of a terminal
_SINGLE: Final = (str, bytes, bytearray, memoryview, Mapping, type)


def one_of(argument: str, value: T, choices: Iterable[str]) -> T:
    """One name of several.

    Args:
        argument: Name of the argument, for the message.
        value: The name that was given.
        choices: All names that are valid.

    Raises:
        UsageError: It is none of them; the message suggests the nearest.

    Example:
        >>> one_of("per", "clients", ("client", "model"))
        Traceback (most recent call last):
        mlsecops.errors.UsageError: per: expected client or model, got 'clients'; write 'client'
    """
    known = tuple(choices)
    if isinstance(value, str) and value in known:
        return value
    import difflib  # noqa: PLC0415 - only a refusal pays for its import

    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"; write {near[0]!r}" if near else ""
    names = " or ".join(filter(None, (", ".join(known[:-1]), *known[-1:])))
    raise UsageError(f"{argument}: expected {names}, got {shown(value)}{hint}")


def several(argument: str, values: Iterable[T], what: str, of: Kind = object) -> tuple[T, ...]:
    """Several values; one text or mapping is refused, not iterated.

    Args:
        argument: Name of the argument, for the message.
        values: Any iterable of values but a text, bytes or a mapping.
        what: What its items are, in the plural.
        of: Types of an item, or the name of a method that it has.

    Raises:
        UsageError: It is a single value, or an item has another type.

    Example:
        >>> several("models", "m-*", "patterns")
        Traceback (most recent call last):
        mlsecops.errors.UsageError: models: expected a list of patterns, got 'm-*'; write ['m-*']
    """
    if isinstance(values, _SINGLE) or not isinstance(values, Iterable):
        alone = shown(values)
        text = isinstance(values, str) and "-----BEGIN" not in values
        hint = f"; write [{alone}]" if text else "; put it in a list"
        raise UsageError(f"{argument}: expected a list of {what}, got {alone}{hint}")
    items = tuple(values)
    for item in items:
        if not _is(item, of):
            raise UsageError(f"{argument}: expected a list of {what}, got {shown(item)} in it")
    return items


def some_of(argument: str, values: Iterable[T], choices: Iterable[str]) -> tuple[T, ...]:
    """Several names of those that are valid, in the order given.

    Raises:
        UsageError: It is a single text, or a name is unknown.
    """
    known = tuple(choices)
    given = several(argument, values, "names")
    return tuple(one_of(argument, value, known) for value in given)


def of_type(argument: str, value: T, kind: Kind, what: str) -> T:
    """A value of a type; a class given for its instance is refused.

    Args:
        argument: Name of the argument, for the message.
        value: What was given.
        kind: The types that it may have, or the name of a method that it has.
        what: The same in words.

    Raises:
        UsageError: It has another type.
    """
    if _is(value, kind):
        return value
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def path_of(argument: str, value: Any) -> Path:
    """A path in the file system.

    Raises:
        UsageError: It is no text or path object, holds a null character, or is a PEM text.
    """
    given = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if isinstance(given, str) and "\0" not in given and "-----BEGIN" not in given:
        return Path(given)
    raise UsageError(f"{argument}: expected a path, got {shown(value)}")


def callable_of(argument: str, value: T) -> T:
    """A callable, or None where it is optional.

    Raises:
        UsageError: It is neither.
    """
    if value is None or callable(value):
        return value
    raise UsageError(f"{argument}: expected a function, got {shown(value)}")


def number(argument: str, value: Any, what: str, valid: Callable[[Any], bool]) -> float:
    """A finite number for which a condition holds.

    Args:
        argument: Name of the argument, for the message.
        value: What was given; booleans are no numbers.
        what: The condition in words.
        valid: The condition.

    Raises:
        UsageError: It is no number, or out of its range.

    Example:
        >>> number("rate", -1, "calls a second above 0", lambda rate: rate > 0)
        Traceback (most recent call last):
        mlsecops.errors.UsageError: rate: expected calls a second above 0, got -1
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and math.isfinite(value) and valid(value):
        return value
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def whole(argument: str, value: Any, what: str, least: int = 1) -> int:
    """A whole number from `least` on.

    Raises:
        UsageError: It is none, or less.
    """
    try:
        exact = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        exact = least - 1
    if exact >= least:
        return exact
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def _is(value: object, kind: Kind) -> bool:
    if isinstance(value, type):
        return False
    return (
        callable(getattr(value, kind, None)) if isinstance(kind, str) else isinstance(value, kind)
    )


def shown(value: object) -> str:
    """A wrong value in a message: text and numbers themselves, of others the type.

    PEM text and bytes may be secret, and are not shown.
    """
    if isinstance(value, str):
        quoted = repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
        return "a PEM text" if "-----BEGIN" in value else quoted
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)[:_SHOWN]
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = getattr(value, "__name__", "") if callable(value) else ""
    return f"the function {name}" if name else f"one {type(value).__name__}"
