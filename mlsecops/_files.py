"""Files on disk that appear whole or not at all, and folders of links to held bytes."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["linked", "write_atomically"]


@contextlib.contextmanager
def linked(files: Mapping[str, str]) -> Iterator[str]:
    """A private folder of links.

    Args:
        files: Relative name → where the link leads.

    Yields:
        The folder; it goes when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        for name, path in files.items():
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        yield folder


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
