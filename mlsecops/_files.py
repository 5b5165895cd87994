"""How a file appears on disk: whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644) -> Path:
    """Write a file so that a reader, or a crash, sees the old bytes or the new ones.

    Args:
        path: Where the file appears; its folder exists.
        data: Its bytes.
        mode: Its permissions from the first moment on.

    Returns:
        The path written.

    Raises:
        OSError: The folder cannot be written; it names the path that was asked for.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_through(temporary, target, data, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    return target


def _write_through(temporary: Path, target: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
