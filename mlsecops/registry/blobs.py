"""Blob store: a folder of files named by their digest, each written once."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from mlsecops._files import open_private, private_folder
from mlsecops.errors import DigestMismatch, RegistryError
from mlsecops.provenance import Digest
from mlsecops.provenance.digest import new_hash

__all__ = ["Blobs"]

_MOST_READ_BYTES: Final = 64 << 20  # bytes; chosen: the listing of a folder of 400,000 files
_CHUNK: Final = 1 << 20  # bytes; chosen: a copy of any file takes little memory


class Blobs:
    """A folder of files named by the SHA-256 of their bytes, mode 0400, or 0440 in a shared one.

    A blob appears whole or not at all: it is written to a temporary file opened with `O_EXCL`,
    synced, and linked to its name.

    Args:
        root: The folder; created when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Path of a blob, whether it exists or not."""
        return self.root / digest.algorithm / digest.hex[:2] / digest.hex

    def put(self, data: bytes) -> Digest:
        """Store bytes."""
        return self._write([data])[0]

    def put_file(self, source: Path) -> tuple[Digest, int]:
        """Store a file's bytes, read once.

        Args:
            source: A regular file; a symbolic link is refused.

        Returns:
            Digest and size in bytes of what was stored.

        Raises:
            OSError: It cannot be read, or is a link.
        """
        with _reading(source) as stream:
            return self._write(iter(lambda: stream.read(_CHUNK), b""))

    def read(self, digest: Digest) -> bytes:
        """A blob's bytes, checked.

        Raises:
            RegistryError: It is missing, or too large to be read whole.
            DigestMismatch: Its bytes are not those of its name.
        """
        chunks, left = [], _MOST_READ_BYTES
        for chunk in self._checked(digest):
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                raise RegistryError(
                    f"{self.path(digest)}: expected at most {_MOST_READ_BYTES} bytes, got more; "
                    "restore the blob from a copy"
                )
        return b"".join(chunks)

    def hash(self, digest: Digest, *, algorithm: str) -> Digest:
        """Digest of a blob's bytes under another algorithm; they are checked in the same pass.

        Raises:
            RegistryError: It is missing.
            DigestMismatch: Its bytes are not those of its name.
        """
        running = new_hash(algorithm)
        for chunk in self._checked(digest):
            running.update(chunk)
        return Digest(algorithm, running.digest())

    def copy(self, digest: Digest, target: Path) -> None:
        """Write a blob's bytes to a new file; they are checked in the same pass.

        Raises:
            RegistryError: It is missing.
            DigestMismatch: Its bytes are not those of its name; the target must not be used.
        """
        descriptor = _new(target)
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(self._checked(digest))

    def _checked(self, digest: Digest) -> Iterator[bytes]:
        running = hashlib.sha256()
        try:
            with _reading(self.path(digest)) as stream:
                while chunk := stream.read(_CHUNK):
                    running.update(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise RegistryError(
                f"{self.path(digest)}: the blob is missing; restore it from a copy, or roll back"
            ) from error
        if running.digest() != digest.value:
            raise DigestMismatch(
                f"{self.path(digest)}: expected {digest.short}, got sha256:"
                f"{running.hexdigest()[:12]}; the blob was changed; restore it or roll back",
                changed=[digest.hex],
            )

    def _write(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        private_folder(self.root, shared=True)
        temporary = self.root / f".{secrets.token_hex(8)}.tmp"
        descriptor = _new(temporary)
        running, size = hashlib.sha256(), 0
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for chunk in chunks:
                    running.update(chunk)
                    size += stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            digest = Digest("sha256", running.digest())
            self._appear(temporary, digest)
        finally:
            temporary.unlink(missing_ok=True)
        return digest, size

    def _appear(self, temporary: Path, digest: Digest) -> None:
        target = self.path(digest)
        private_folder(target.parent, shared=True)
        try:
            os.link(temporary, target)
        except FileExistsError:
            if not self._holds(target, digest):  # damaged on disk: the name promises these bytes
                temporary.replace(target)
        _sync(target.parent)

    def _holds(self, target: Path, digest: Digest) -> bool:
        with _reading(target) as stream:
            return hashlib.file_digest(stream, "sha256").digest() == digest.value


def _reading(path: Path) -> BufferedReader:
    """Open a regular file; a link is refused, and a pipe, which would block, cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "expected a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _new(path: Path) -> int:
    return open_private(path, os.O_WRONLY | os.O_EXCL, sealed=True, shared=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
