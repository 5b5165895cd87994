"""Object store in a local folder, for the processes of one machine.

object → private temporary file, synced → link (if absent) or rename under a lock (if unchanged)

Files are sealed (0400, or 0440 in a folder shared with its group); a link, pipe or device in
place of one is refused.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from mlsecops._files import open_private, private_folder
from mlsecops._platform import CLOEXEC, DIRECTORY, NOFOLLOW, NONBLOCK, lock_whole
from mlsecops._repr import concise_repr
from mlsecops.audit.objects.protocol import UNCHANGED, Stored, require_key

__all__ = ["FolderStore"]

_CHUNK: Final = 1 << 20  # bytes; chosen: a copy of any file takes little memory
_LOCK: Final = ".lock"
_PATIENCE: Final = 60.0  # seconds; chosen: a thousand writers before this one
_ORDERED: Final = frozenset({"ext4", "xfs", "tmpfs"})  # tmpfs lasts over no power failure at all


@concise_repr("root")
class FolderStore:
    """Objects as files.

    Conditional replacement needs a file system whose `flock` holds between the processes that
    write: a local one, or NFS 4.

    Args:
        root: The folder; created when first written to.
    """

    streams = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)

    def get(self, key: str, *, most: int) -> Stored | None:
        """A file's bytes."""
        try:
            with reading(self._path(key)) as stream:
                data = stream.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            self._require_folder()
            return None
        if len(data) > most:
            raise OSError(errno.EFBIG, f"expected at most {most} bytes, got more", self._name(key))
        return Stored(data, _tag(data))

    def get_if_changed(self, key: str, tag: str, *, most: int) -> Stored | None:
        """A file's bytes, unless they have the tag."""
        stored = self.get(key, most=most)
        return UNCHANGED if stored is not None and stored.tag == tag else stored

    def put_if_absent(self, key: str, data: bytes, *, lasting: bool = True) -> str | None:
        """Link a new file to its name."""
        target = self._path(key)
        with self._draft(target, data) as draft:
            try:
                os.link(draft, target)
            except FileExistsError:
                return None
            self._settle(target.parent, lasting=lasting)
        return _tag(data)

    def put_if_unchanged(
        self, key: str, data: bytes, tag: str, *, lasting: bool = True
    ) -> str | None:
        """Rename a new file over one whose bytes have the tag."""
        target = self._path(key)
        with self._exclusive(), self._draft(target, data) as draft:
            try:
                with reading(target) as stream:
                    known = hashlib.file_digest(stream, "sha256").hexdigest()
            except FileNotFoundError:
                return None
            if known != tag:
                return None
            draft.replace(target)
            self._settle(target.parent, lasting=lasting)
        return _tag(data)

    def keys(self, prefix: str) -> Iterator[str]:
        """Relative paths that begin with a text; temporary files and the lock are left out."""
        for folder, names, files in os.walk(self.root):
            names.sort()
            for name in sorted(files):
                key = Path(folder, name).relative_to(self.root).as_posix()
                if key.startswith(prefix) and not name.startswith("."):
                    yield key

    def stream(self, key: str) -> Iterator[bytes]:
        """A file's bytes."""
        with reading(self._path(key)) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def upload(self, key: str, source: Path) -> None:
        """Copy a file to its name."""
        target = self._path(key)
        with reading(source) as stream, self._draft(target, stream) as draft:
            draft.replace(target)
            sync_folder(target.parent)

    def _settle(self, folder: Path, *, lasting: bool) -> None:
        """Sync a folder, unless a later sync of another file makes its names last too."""
        if lasting or not self._ordered:
            sync_folder(folder)

    @functools.cached_property
    def _ordered(self) -> bool:
        """Whether the file system's journal keeps the order of names, as those of ext4 and XFS do.

        There, `fsync` of any file writes all earlier changes of names.
        """
        device = self.root.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        try:
            mounts = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        except OSError:
            return False
        kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts if f" {number} " in line}
        return bool(kinds) and kinds <= _ORDERED

    def _path(self, key: str) -> Path:
        """Path of an object; no folder on the way from the root may be a link to another place."""
        path = self.root / require_key(key)
        for folder in path.parents[: key.count("/")]:
            if folder.is_symlink():
                raise OSError(errno.ELOOP, "expected a folder, found a symbolic link", str(folder))
        return path

    def _name(self, key: str) -> str:
        return str(self._path(key))

    def _require_folder(self) -> None:
        """Demand that the root is a folder, or absent."""
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "expected a folder", str(self.root))

    @contextmanager
    def _draft(self, target: Path, content: bytes | BufferedReader) -> Iterator[Path]:
        """A temporary file with the content, in the target's folder."""
        private_folder(target.parent, shared=True)
        draft = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}.tmp")
        descriptor = open_private(draft, os.O_WRONLY | os.O_EXCL, sealed=True, shared=True)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                if isinstance(content, BufferedReader):
                    stream.writelines(iter(lambda: content.read(_CHUNK), b""))
                else:
                    stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Allow one writer at a time to replace a file; the lock ends with the process."""
        private_folder(self.root, shared=True)
        descriptor = open_private(self.root / _LOCK, os.O_RDWR | NOFOLLOW, shared=True)
        try:
            lock_whole(descriptor, self.root / _LOCK, patience=_PATIENCE)
            yield
        finally:
            os.close(descriptor)


def reading(path: Path) -> BufferedReader:
    """Open a regular file; a link is refused, and a pipe, which would block, cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | NOFOLLOW | CLOEXEC | NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "expected a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def sync_folder(folder: Path) -> None:
    """Make names in a folder last over a crash."""
    if not DIRECTORY:  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | DIRECTORY | CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
