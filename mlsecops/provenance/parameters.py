"""Hyperparameters as plain JSON values, checked when they are given.

values of Python, numpy and enums → text, finite numbers, booleans, lists, mappings

What JSON cannot hold is refused by name at the start of a run, not when its statement is made.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from mlsecops._choices import shown
from mlsecops.errors import UsageError


def is_plain(value: object) -> bool:
    """Whether an argument is a parameter rather than data or a model."""
    return value is None or isinstance(value, (bool, int, float, str, enum.Enum, os.PathLike))


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as plain JSON values.

    Raises:
        UsageError: A name is not text, or a value is not finite, no valid text, or of another kind;
            the message names the parameter.
    """
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        if not isinstance(name, str):
            raise UsageError(
                f"hyperparameters: expected names that are text, got {shown(name)}; "
                "write it as text"
            )
        try:
            plain[_text(name, name)] = _require_json(name, _plain(name, value))
        except RecursionError as error:
            raise UsageError(
                f"hyperparameter {name!r} is nested too deeply, or in itself: flatten it"
            ) from error
    return plain


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(key, value.value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return _finite(key, value)
    if isinstance(value, str):
        return _text(key, value)
    if isinstance(value, os.PathLike):
        return _text(key, os.fsdecode(value))
    if isinstance(value, Mapping):
        return _mapping(key, value)
    if isinstance(value, (list, tuple)):
        return [_plain(f"{key}[{index}]", item) for index, item in enumerate(value)]
    return _scalar(key, value)


def _scalar(key: str, value: Any) -> Any:
    """The value inside an array or tensor of one element."""
    item = getattr(value, "item", None)
    inner = item() if callable(item) and getattr(value, "size", None) == 1 else value
    if type(inner) is not type(value):
        return _plain(key, inner)
    raise UsageError(
        f"hyperparameter {key!r} is a {type(value).__name__}: expected a number, text, list or "
        "mapping; record data with datasets=[…] instead"
    )


def _finite(key: str, value: float) -> float:
    if math.isfinite(value):
        return value
    raise UsageError(
        f"hyperparameter {key!r} is {float(value)}: expected a finite number, since JSON has no "
        f'other; record it as text, "{float(value)}"'
    )


def _text(key: str, value: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"hyperparameter {key!r}: expected valid Unicode text, got a lone surrogate in "
            f"{value[:60]!a}; decode it first"
        ) from error


def _mapping(key: str, values: Mapping[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in values.items():
        label = _plain(key, name)
        if isinstance(label, (list, dict)) or str(label) in plain:
            raise UsageError(
                f"hyperparameter {key!r}: expected names that are text or numbers, each once, got "
                f"{shown(name)}"
            )
        plain[str(label)] = _plain(f"{key}.{label}", value)
    return plain


def _require_json(key: str, value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:  # a whole number of thousands of digits
        raise UsageError(f"hyperparameter {key!r}: {error}; record it as text") from error
    return value
