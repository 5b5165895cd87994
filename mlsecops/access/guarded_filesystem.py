"""File system of fsspec that asks an access policy before it reads or writes.

path → decision → file system below → bytes, copied and hashed first in a training run

Imported only where fsspec is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from fsspec import AbstractFileSystem  # type: ignore[import-untyped] # it has no types

from mlsecops.access.guarded_reads import READ, WRITE, DataAccess

__all__ = ["GuardedFileSystem"]

_CHUNK: Final = 1 << 20  # bytes; chosen: a copy of any file takes little memory


class GuardedFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """File system that asks an access policy before it reads or writes.

    Args:
        below: The file system with the data.
        access: What is asked.
    """

    cachable = False
    protocol = "guarded"

    def __init__(self, below: Any, access: DataAccess) -> None:
        super().__init__()
        self._below = below
        self._access = access

    def _demand(self, action: str, path: str) -> str:
        bare = str(self._below._strip_protocol(path))  # noqa: SLF001 - fsspec's interface for subclasses
        self._access.demand(action, bare.lstrip("/") or "/")
        return bare

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's
        """Names or details in a folder."""
        return self._below.ls(self._demand(READ, path), detail=detail, **options)

    def info(self, path: str, **options: Any) -> Any:
        """Details of a file or folder."""
        return self._below.info(self._demand(READ, path), **options)

    def created(self, path: str) -> Any:
        """Time of creation."""
        return self._below.created(self._demand(READ, path))

    def modified(self, path: str) -> Any:
        """Time of the last change."""
        return self._below.modified(self._demand(READ, path))

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:  # noqa: FBT001, FBT002 - fsspec's
        """Make a folder."""
        self._below.mkdir(self._demand(WRITE, path), create_parents, **options)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - fsspec's
        """Make a folder with its parents."""
        self._below.makedirs(self._demand(WRITE, path), exist_ok)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self._below.rmdir(self._demand(WRITE, path))

    def rm_file(self, path: str) -> None:
        """Delete a file."""
        self._below.rm_file(self._demand(WRITE, path))

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """Copy a file."""
        self._below.cp_file(self._demand(READ, path1), self._demand(WRITE, path2), **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            bare = self._demand(WRITE, path)
            if "r" in mode or "+" in mode or "a" in mode:
                self._demand(READ, path)
            return self._below._open(bare, mode=mode, **options)  # noqa: SLF001 - as above
        bare = self._demand(READ, path)
        opened = self._below._open(bare, mode="rb", **options)  # noqa: SLF001 - as above
        return opened if self._access.run is None else _copied(self._access, bare, opened)


def _copied(access: DataAccess, path: str, opened: Any) -> Any:
    """An open private copy of a file, recorded in the training run."""

    def chunks() -> Iterator[bytes]:
        with opened:
            while chunk := opened.read(_CHUNK):
                yield chunk

    with ExitStack() as stack:
        copy = stack.enter_context(access.recorded(path.lstrip("/"), chunks()))
        return copy.open("rb")  # the open file outlives its name
