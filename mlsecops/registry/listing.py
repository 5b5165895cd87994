"""Folder listing: the blobs that make up a folder.

folder → `capture` → private copy and Listing, stored as canonical JSON
Listing → `build` → read-only folder
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlsecops._files import private_folder
from mlsecops._json import parse_object
from mlsecops.errors import RegistryError, UnsafeContent, UsageError
from mlsecops.provenance import Digest
from mlsecops.registry.blobs import Blobs, copy_hashed

__all__ = ["Listing", "remove_folder", "seal_folder"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder, each with the digest of its blob.

    Attributes:
        files: Relative POSIX path and digest, in order of path.
    """

    files: tuple[tuple[str, Digest], ...]

    @classmethod
    def capture(cls, folder: Path, copy: Path) -> Listing:
        """Copy every file of a folder, each read once.

        Args:
            folder: An existing folder.
            copy: Where the copy goes; it does not exist.

        Raises:
            UsageError: It is no folder, or a file cannot be read.
            UnsafeContent: It holds a link, socket, pipe or device.
            OSError: The copy cannot be written.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder with a signed model, found none")
        private_folder(copy, shared=True)
        try:
            names = _names(folder)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be copied: {error}") from error
        files = []
        for name in names:
            private_folder((copy / name).parent, shared=True)
            try:
                files.append((name, copy_hashed(folder / name, copy / name)))
            except OSError as error:
                if error.filename is not None and not Path(error.filename).is_relative_to(copy):
                    raise UsageError(f"{folder}: cannot be copied: {error}") from error
                raise
        return cls(tuple(files))

    @classmethod
    def load(cls, data: bytes) -> Listing:
        """Read the stored form.

        Raises:
            RegistryError: It is malformed, or a name would leave the folder.
        """
        names = parse_object(data, what="stored folder listing", error=RegistryError)
        try:
            files = tuple((name, Digest.parse(text)) for name, text in names.items())
        except (ValueError, AttributeError, TypeError) as error:
            raise RegistryError(f"a stored folder listing is malformed: {error}") from error
        for name, _ in files:
            if PurePosixPath(name).is_absolute() or not set(name.split("/")).isdisjoint(
                {"", ".", ".."}
            ):
                raise RegistryError(f"a stored folder listing has the unsafe name {name!r}")
        return cls(files)

    def to_bytes(self) -> bytes:
        """Stored form: canonical JSON of path to digest."""
        names = {name: str(digest) for name, digest in self.files}
        return json.dumps(names, sort_keys=True, separators=(",", ":")).encode()

    def only(self, names: Collection[str]) -> Listing:
        """The listing restricted to some files."""
        return Listing(tuple(item for item in self.files if item[0] in names))

    def build(self, target: Path, blobs: Blobs, *, most: int | None = None) -> Path:
        """Create the read-only folder, whole or not at all, unless it exists.

        Args:
            target: The folder; its parent is created.
            blobs: Store of the bytes.
            most: Bytes that a file can have, or None where nobody knows.

        Raises:
            RegistryError: A blob is missing.
            DigestMismatch: A blob was changed.
        """
        if target.is_dir():
            return target
        private_folder(target.parent, shared=True)
        draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            self._fill(draft, blobs, most)
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        finally:
            remove_folder(draft)
        return target

    def _fill(self, draft: Path, blobs: Blobs, most: int | None) -> None:
        private_folder(draft, shared=True)
        places = [(digest, draft / name) for name, digest in self.files]
        for _, place in places:
            private_folder(place.parent, shared=True)
        with ThreadPoolExecutor(blobs.streams) as pool:
            list(pool.map(lambda each: blobs.copy(*each, most=most), places))
        seal_folder(draft)


def seal_folder(folder: Path) -> None:
    """Take the right to write from every folder of a tree."""
    for inner, _, _ in os.walk(folder, topdown=False):
        Path(inner).chmod(stat.S_IMODE(Path(inner).stat().st_mode) & ~0o222)


def remove_folder(folder: Path) -> None:
    """Delete a read-only folder, if it exists; links in it are not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir():
        for inner, _, _ in os.walk(folder):
            Path(inner).chmod(0o700)
        shutil.rmtree(folder)


def _names(folder: Path) -> list[str]:
    """Relative paths of all regular files."""
    names: list[str] = []
    for inner, folders, files in os.walk(folder, onerror=_fail):
        for name in (*folders, *files):
            place = Path(inner, name)
            relative = place.relative_to(folder).as_posix()
            if place.is_symlink() or not (place.is_file() or place.is_dir()):
                raise UnsafeContent(
                    f"{relative}: expected regular files, found a link, socket, pipe or device; "
                    "publish a folder of plain files",
                    rule="not-a-regular-file",
                    where=relative,
                )
            if name in files:
                names.append(relative)
    return sorted(names)


def _fail(error: OSError) -> None:
    raise error
