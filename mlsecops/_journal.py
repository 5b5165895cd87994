"""How work that was paid for survives a crash: a file of JSON lines that is only appended to.

A line that a crash cut short counts as none, and is cut off before the next one is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlsecops.errors import UsageError

__all__ = ["append_line", "read_lines"]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a journal, none if it does not exist; an unfinished last line is cut off.

    Raises:
        UsageError: The file cannot be read, or is damaged.
    """
    try:
        lines = _whole_lines(path)
        values = [json.loads(line) for line in lines]
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"journal {path} is damaged: {error!r}") from error
    if not all(isinstance(value, dict) for value in values):
        raise UsageError(f"journal {path} is damaged: expected a JSON object in each line")
    return values


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object to a journal, which is begun if it does not exist.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as stream:
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
