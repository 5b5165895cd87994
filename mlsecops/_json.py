"""Strict JSON reader for everything that comes from outside.

bytes or text → UTF-8 → unique keys, finite numbers, bounded nesting → value, or the caller's error

Source: RFC 8259, sections 4 (names), 6 (numbers), 8.1 (UTF-8) and 9 (limits of a parser).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final, Never

from mlsecops._bounded.budget import require_text, tick

MAX_DEPTH: Final = 500  # levels; chosen: half of Python's recursion limit, for readers that recurse
_SHOWN: Final = 80  # characters; chosen: enough of a key or literal to find it, on one line


def parse_json(
    data: str | bytes,
    *,
    what: str,
    error: Callable[[str], Exception],
    most: int | None = None,
    constants: bool = False,
) -> Any:
    """Parse one JSON value in linear time.

    Args:
        data: The text, or its UTF-8 bytes.
        what: Name for messages.
        error: Class of the error to raise.
        most: Largest accepted length in bytes (characters of text), or None.
        constants: Whether `NaN` and `Infinity` are accepted, as Keras and Transformers write them.

    Raises:
        Exception: `error`, where the data is too long, not UTF-8 or not JSON, an object has a key
            more than once, a number is not finite, or nesting exceeds `MAX_DEPTH`.
        LimitExceeded: The budget of the artifact that is being read is used up.

    Examples:
        >>> parse_json('{"a": [1, 2]}', what="settings", error=ValueError)
        {'a': [1, 2]}
    """
    if most is not None and len(data) > most:
        raise error(f"{what}: expected at most {most} bytes of JSON, got {len(data)}")
    require_text(len(data), where=what)
    tick(where=what)
    rules: dict[str, Any] = {} if constants else {"parse_float": _finite, "parse_constant": _refuse}
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_unique, **rules)
    except RecursionError as reason:
        raise error(_too_deep(what)) from reason
    except ValueError as reason:
        raise error(f"{what}: not valid JSON: {reason}") from reason
    if text.count("[") + text.count("{") > MAX_DEPTH and deeper_than(MAX_DEPTH, value):
        raise error(_too_deep(what))
    return value


def parse_object(
    data: str | bytes,
    *,
    what: str,
    error: Callable[[str], Exception],
    most: int | None = None,
    constants: bool = False,
) -> dict[str, Any]:
    """Parse one JSON object like `parse_json`; `error` also where the value is no object."""
    value = parse_json(data, what=what, error=error, most=most, constants=constants)
    if not isinstance(value, dict):
        raise error(f"{what}: expected a JSON object, got {_kind(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers could otherwise see different documents: one takes the first, one the last."""
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"key {name[:_SHOWN]!r} appears more than once")
            seen.add(name)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {text[:_SHOWN]} is too large")
    return value


def _refuse(text: str) -> Never:
    raise ValueError(f"{text} is not JSON")


def deeper_than(most: int, value: Any) -> bool:
    """Whether parsed JSON is nested deeper than `most` levels, found without recursion."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _too_deep(what: str) -> str:
    return f"{what}: expected JSON nested at most {MAX_DEPTH} levels deep, got more"


def _kind(value: object) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
