"""Append-only journal of JSON lines, which keeps paid work across a crash.

An unfinished last line is ignored, and cut off before the next one is written. A new journal is
readable by its owner alone, since it may hold answers of a model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mlsecops._files import open_private
from mlsecops._json import parse_object
from mlsecops.errors import UsageError

__all__ = ["append_line", "read_lines"]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a journal, none if it does not exist; an unfinished last line is cut off.

    Raises:
        UsageError: The file cannot be read, or is damaged.
    """
    try:
        lines = _whole_lines(path)
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error
    return [
        parse_object(line, what=f"journal {path} is damaged: line {number}", error=UsageError)
        for number, line in enumerate(lines, start=1)
    ]


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object to a journal, which is begun if it does not exist.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as stream:
            stream.write(f"{json.dumps(value)}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as stream:
            stream.truncate(end)
    return data[:end].splitlines()
