"""Folder of client histories that the processes of one machine share.

client → file named by an HMAC → locked, read, changed, written → history after the change

A client whose queries are spread over the workers of a service is judged by all of them, as with
Redis, but nothing has to be run for it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked, number, whole
from mlsecops._platform import CLOEXEC, lock_whole
from mlsecops._repr import concise_repr
from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.extraction.client_history import ClientHistory
from mlsecops.extraction.stores import SALT_BYTES, LocalHistoryStore, checked_salt

R = TypeVar("R")

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's: the folder of a service
_SALT: Final = "mlsecops-extraction.salt"
_LARGEST: Final = 2**20  # bytes of a history; chosen: sixteen times the largest one
_PATIENCE: Final = 2.0  # seconds; chosen: a history is held for milliseconds
_TIDY: Final = 256  # new clients between two looks for forgotten ones; chosen


@concise_repr("path", "unreachable", "discarded")
class FolderHistoryStore:
    """Histories in a folder, for the workers of a service on one machine.

    File names are an HMAC of the client's name, and stored queries are rotated by the detector's
    salt, so the folder reveals no names and no inputs without the salt. Whoever can *write* to it
    can erase evidence: it is private to its user.

    Args:
        path: The folder, such as one in `PROMETHEUS_MULTIPROC_DIR`; it is made if absent.
        salt: The detector's salt, at least 16 bytes, the same in each process.
        ttl: Seconds after which a silent client is forgotten, > 0.
        capacity: Largest number of clients; the longest silent ones are forgotten.

    Attributes:
        unreachable: Number of failures to use the folder; the client was judged by what this
            process alone knows.
        discarded: Number of damaged histories that were replaced by empty ones.

    Raises:
        UsageError: The salt is too short, a number is out of range, the folder cannot be made, or
            the system has no file locks (Windows).

    Examples:
        >>> import tempfile
        >>> store = FolderHistoryStore(tempfile.mkdtemp(), salt=b"0123456789abcdef")
        >>> store.use("alice", 0.0, lambda history: history.queries)
        0
    """

    @checked
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        salt: bytes,
        ttl: float = 3600.0,
        capacity: int = 10_000,
    ) -> None:
        number("ttl", ttl, "seconds above 0", lambda seconds: seconds > 0)
        whole("capacity", capacity, "a number of clients from 1 on")
        self._salt, self._ttl, self._capacity = checked_salt(salt), ttl, capacity
        self.path = Path(path)
        if fcntl is None:
            raise UsageError("folder of histories: expected file locks, got a system without them")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"folder of histories: cannot make {path}: {error}") from error
        self._local = LocalHistoryStore(capacity=capacity, ttl=ttl)
        self._clients: BoundedMap[str, list[str | None]] = BoundedMap(
            list, capacity=capacity, ttl=ttl
        )
        self._new = 0
        self.unreachable = self.discarded = 0

    def use(self, client: str | None, now: float, change: Callable[[ClientHistory], R]) -> R:
        """Change a client's history, while no other process does."""
        name = self._name(client)
        self._clients.use(name, now)[:] = [client]
        try:
            descriptor = self._locked(self.path / name)
        except OSError:
            self.unreachable += 1
            return self._local.use(client, now, change)
        with os.fdopen(descriptor, "r+b", buffering=0) as stream:
            try:
                history = self._read(stream.read(_LARGEST + 1), os.fstat(descriptor).st_mtime)
                result = change(history)
                self._write(stream, history.to_bytes())
            finally:
                # Closing is not enough: a child that was forked meanwhile holds a copy.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        return result

    def __iter__(self) -> Iterator[tuple[str | None, ClientHistory]]:
        """The clients that this process saw, with what all processes know of them."""
        for name in self._clients:
            path, (client,) = self.path / name, self._clients.get(name) or [None]
            try:
                data, written = path.read_bytes(), path.stat().st_mtime
            except OSError:
                continue
            yield client, self._read(data, written)

    def _locked(self, path: Path) -> int:
        """A file that this process holds alone, and that has not been removed meanwhile."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | CLOEXEC, 0o600)
            try:
                # A worker that was stopped while it held the lock must not stop all others.
                lock_whole(descriptor, path, patience=_PATIENCE)
                state = os.fstat(descriptor)
                if state.st_nlink:
                    if not state.st_size:
                        self._tidy()
                    return descriptor
            except OSError:
                os.close(descriptor)  # or nobody could use the client's file any more
                raise
            os.close(descriptor)

    def _write(self, stream: BinaryIO, data: bytes) -> None:
        """Write a history; if there is no room for it, its client was judged none the less."""
        try:
            stream.seek(0)
            stream.write(data)
            stream.truncate()
        except OSError:
            self.unreachable += 1

    def _read(self, data: bytes, written: float) -> ClientHistory:
        """A stored history; a damaged one is replaced, so that its client is judged."""
        if not data or time.time() - written > self._ttl:
            return ClientHistory()
        try:
            return ClientHistory.from_bytes(data)
        except (FormatRefused, LimitExceeded):
            self.discarded += 1
            return ClientHistory()

    def _tidy(self) -> None:
        """Remove forgotten clients, and the longest silent ones if there are too many."""
        self._new += 1
        if self._new % min(_TIDY, self._capacity):
            return
        with os.scandir(self.path) as entries:
            known = sorted(filter(None, map(_age, entries)))
        oldest = time.time() - self._ttl
        surplus = len(known) - self._capacity
        for place, (written, path) in enumerate(known):
            if written < oldest or place < surplus:
                Path(path).unlink(missing_ok=True)

    def _name(self, client: str | None) -> str:
        who = b"\x00" if client is None else b"\x01" + client.encode("utf-8", "surrogatepass")
        return hmac.new(self._salt, who, hashlib.sha256).hexdigest()


def _age(entry: os.DirEntry[str]) -> tuple[float, str] | None:
    """When a file was written, and its path; None if another process removed it meanwhile."""
    try:
        return entry.stat().st_mtime, entry.path
    except FileNotFoundError:
        return None


def fresh_salt() -> bytes:
    """A random salt: that of the service's folder, if there is one, so that workers share it."""
    place = os.environ.get(VARIABLE)
    made = secrets.token_bytes(SALT_BYTES)
    if not place or fcntl is None:
        return made
    path = Path(place, _SALT)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        hidden.unlink(missing_ok=True)
        with os.fdopen(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(made)
        try:
            os.link(hidden, path)  # whole, and only if no other worker was first
        except FileExistsError:
            made = path.read_bytes()
        hidden.unlink()
    except OSError:
        return made
    return made if len(made) >= SALT_BYTES else secrets.token_bytes(SALT_BYTES)


def usual_store(salt: bytes, calibration: bytes) -> LocalHistoryStore | FolderHistoryStore:
    """Histories of this process, or of all workers of the service if it has a folder.

    Only detectors of the same salt and calibration share them: others measure other evidence.
    """
    place = os.environ.get(VARIABLE)
    if not place or fcntl is None:
        return LocalHistoryStore()
    name = hmac.new(salt, calibration, hashlib.sha256).hexdigest()[:32]
    try:
        return FolderHistoryStore(Path(place, f"mlsecops-clients-{name}"), salt=salt)
    except UsageError:
        return LocalHistoryStore()
