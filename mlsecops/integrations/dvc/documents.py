"""YAML, JSON and TOML documents of a DVC repository, bounded.

path → mapping, or FormatRefused
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops._bounded.toml import parse_toml
from mlsecops._extras import require
from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused, UsageError

MAX_BYTES: Final = 64 << 20  # bytes of a pointer file; chosen: some 500,000 outputs


def read_document(place: Path) -> Mapping[str, Any]:
    """The mapping in a file.

    Raises:
        FormatRefused: It is too large, malformed, or holds no mapping.
        UsageError: It cannot be opened.
        MissingExtra: PyYAML is not installed.
    """
    yaml = require("yaml")
    try:
        if place.stat().st_size > MAX_BYTES:
            raise FormatRefused(f"{place}: expected a file of at most {MAX_BYTES} bytes")
        data = place.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror}") from error
    try:
        if place.suffix == ".toml":
            value = parse_toml(data.decode(), what=str(place), error=FormatRefused)
        elif place.suffix == ".json":
            value = parse_json(data, what=str(place), error=FormatRefused)
        else:
            value = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatRefused(f"{place}: expected {_kind(place)}: {error}") from error
    if not isinstance(value, dict):
        raise FormatRefused(f"{place}: expected a mapping, as DVC writes it")
    return value


def mapping(place: Path, value: Any) -> Mapping[str, Any]:
    """Demand that a value of a file is a mapping."""
    if not isinstance(value, dict):
        raise FormatRefused(f"{place}: expected a mapping, got {type(value).__name__}")
    return value


def _kind(place: Path) -> str:
    return {".toml": "TOML", ".json": "JSON"}.get(place.suffix, "YAML")
