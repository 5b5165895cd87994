"""Blobs: objects named by the digest of their bytes, each written once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlsecops._files import open_private
from mlsecops._repr import concise_repr
from mlsecops.audit.objects import ObjectStore
from mlsecops.audit.objects.folder import reading
from mlsecops.errors import DigestMismatch, RegistryError
from mlsecops.provenance import Digest
from mlsecops.provenance.digest import new_hash

__all__ = ["Blobs", "copy_hashed"]

_MOST_READ_BYTES: Final = 64 << 20  # bytes; chosen: the listing of a folder of 400,000 files
_SMALL: Final = 8 << 20  # bytes; chosen: what one request carries
_CHUNK: Final = 1 << 20  # bytes; chosen: a copy of any file takes little memory


@concise_repr("_store")
class Blobs:
    """Objects named by the SHA-256 of their bytes; what is read is compared with the name.

    Args:
        store: Where they are.
        prefix: Prefix of their keys, with a slash at its end.
    """

    def __init__(self, store: ObjectStore, *, prefix: str = "blobs/") -> None:
        self._store = store
        self._prefix = prefix

    @property
    def streams(self) -> int:
        """Number of blobs that are worth being copied at once."""
        return self._store.streams

    def key(self, digest: Digest) -> str:
        """Key of a blob, whether it exists or not."""
        return f"{self._prefix}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def put(self, data: bytes) -> Digest:
        """Store bytes; a blob that was damaged is replaced.

        Raises:
            OSError: They cannot be stored.
        """
        digest = Digest.of(data)
        key = self.key(digest)
        if self._store.put_if_absent(key, data) is None and not self._holds(digest, len(data)):
            with tempfile.TemporaryDirectory(prefix="mlsecops-blob-") as place:
                source = Path(place, "blob")
                source.write_bytes(data)
                self._store.upload(key, source)
        return digest

    def put_file(self, source: Path, digest: Digest) -> None:
        """Store a file whose digest is known; nobody else may write it meanwhile.

        Raises:
            OSError: It cannot be read or stored.
        """
        with reading(source) as stream:
            data = stream.read(_SMALL + 1)
        if len(data) <= _SMALL:
            self.put(data)
        elif not self._holds(digest, source.stat().st_size):
            self._store.upload(self.key(digest), source)

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
                    f"{self._where(digest)}: expected at most {_MOST_READ_BYTES} bytes, got more; "
                    "restore the blob from a copy"
                )
        return b"".join(chunks)

    def hash(self, digest: Digest, *, algorithm: str, most: int | None = None) -> Digest:
        """Digest of a blob's bytes under another algorithm; they are checked in the same pass.

        Args:
            digest: Its digest.
            algorithm: The other algorithm.
            most: Bytes that it can have, or None where nobody knows.

        Raises:
            RegistryError: It is missing.
            DigestMismatch: Its bytes are not those of its name.
        """
        running = new_hash(algorithm)
        for chunk in self._checked(digest, most):
            running.update(chunk)
        return Digest(algorithm, running.digest())

    def copy(self, digest: Digest, target: Path, *, most: int | None = None) -> None:
        """Write a blob's bytes to a new file; they are checked in the same pass.

        Args:
            digest: Its digest.
            target: The file.
            most: As for `hash`.

        Raises:
            RegistryError: It is missing.
            DigestMismatch: Its bytes are not those of its name; the target must not be used.
        """
        with os.fdopen(_new(target), "wb") as stream:
            stream.writelines(self._checked(digest, most))

    def _checked(self, digest: Digest, most: int | None = None) -> Iterator[bytes]:
        running, size = hashlib.sha256(), 0
        try:
            for chunk in self._store.stream(self.key(digest)):
                size += len(chunk)
                if most is not None and size > most:
                    raise DigestMismatch(
                        f"{self._where(digest)}: expected at most {most} bytes, got more; the blob "
                        "was replaced; restore it or roll back",
                        changed=[digest.hex],
                    )
                running.update(chunk)
                yield chunk
        except FileNotFoundError as error:
            raise RegistryError(
                f"{self._where(digest)}: the blob is missing; restore it from a copy, or roll back"
            ) from error
        if running.digest() != digest.value:
            raise DigestMismatch(
                f"{self._where(digest)}: expected {digest.short}, got sha256:"
                f"{running.hexdigest()[:12]}; the blob was changed; restore it or roll back",
                changed=[digest.hex],
            )

    def _holds(self, digest: Digest, size: int) -> bool:
        """Whether the blob is there with the bytes that its name promises."""
        try:
            for _ in self._checked(digest, size):
                pass
        except (RegistryError, DigestMismatch):
            return False
        return True

    def _where(self, digest: Digest) -> str:
        return f"{self._store.where}/{self.key(digest)}"


def copy_hashed(source: Path, target: Path) -> Digest:
    """Copy a file's bytes, read once, to a new sealed file, and return their SHA-256.

    Args:
        source: A regular file; a symbolic link is refused.
        target: The copy; it does not exist.

    Raises:
        OSError: One cannot be read or written.
    """
    running = hashlib.sha256()
    with reading(source) as stream, os.fdopen(_new(target), "wb") as copy:
        while chunk := stream.read(_CHUNK):
            running.update(chunk)
            copy.write(chunk)
    return Digest("sha256", running.digest())


def _new(path: Path) -> int:
    return open_private(path, os.O_WRONLY | os.O_EXCL, sealed=True, shared=True)
