"""Folder of a service's processes: living ones, their states, archived totals.

    mlsecops.lock              held while files are read or archived
    mlsecops-PID-ID.lock       held by a process for as long as it lives
    mlsecops-PID-ID.state      what its worker aggregated, written whole or not at all
    mlsecops-PID-ID-N.calls    its calls by outcome, as they end (`tally`)
    mlsecops-PID-ID-N.labels   labels of predictions that it did not make (`label_exchange`)
    mlsecops-ended.state       counts of processes that ended, with the names of those in it

The kernel releases a lock with its process, however that ends; a number of a process is used again,
a lock is not.

Source: prometheus_client, "Multiprocess Mode (E.g. Gunicorn)" (the folder and its life).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlsecops._platform import CLOEXEC, at_fork, lock_whole

try:
    import fcntl
except ImportError:  # Windows has no such locks, nor servers that fork
    fcntl = None  # type: ignore[assignment]

_LOG: Final = logging.getLogger("mlsecops.monitoring")
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
ENDED: Final = "mlsecops-ended"
_PATIENCE: Final = 5.0  # seconds; chosen: a lock is held for milliseconds
_FLAGS: Final = os.O_RDWR | os.O_CREAT | CLOEXEC


class ServiceFolder:
    """The files of one process among those of its service.

    Attributes:
        place: The folder, as the variable names it.
        path: The folder.
        name: Beginning of the names of this process's files.
    """

    def __init__(self, place: str) -> None:
        if fcntl is None:
            raise OSError("this system has no file locks")
        self.place = place
        self.path = path = Path(place)
        path.mkdir(parents=True, exist_ok=True)
        self.name = f"mlsecops-{os.getpid()}-{secrets.token_hex(4)}"
        self._tallies = 0
        # Locked before it has its name: a file that anyone can lock is that of a dead process.
        hidden = path / f".{self.name}"
        self._own = os.open(hidden, _FLAGS, 0o600)
        fcntl.flock(self._own, fcntl.LOCK_EX)
        hidden.rename(self.file(".lock"))

    def file(self, suffix: str, *, of: str | None = None) -> Path:
        """A file of this process, or of another one."""
        return self.path / f"{of or self.name}{suffix}"

    def next_tally(self) -> Path:
        """Where this process's next tally belongs."""
        self._tallies += 1
        return self.file(f"-{self._tallies}.calls")

    def tallies(self, name: str) -> list[Path]:
        """Files with the calls of a process."""
        return sorted(self.path.glob(f"{name}-*.calls"))

    def others(self) -> Iterator[tuple[str, bool]]:
        """Names of the other processes, and whether they live."""
        for path in sorted(self.path.glob("mlsecops-*.lock")):
            if path.stem != self.name:
                yield path.stem, _held(path)

    def remove(self, name: str) -> None:
        """Remove the files of a process; the lock goes last, since it names the others."""
        labels = self.path.glob(f"{name}-*.labels")
        last = (self.file(".state", of=name), self.file(".lock", of=name))
        for path in (*self.tallies(name), *labels, *last):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, name: str = "mlsecops.lock", *, alone: bool = False) -> Iterator[None]:
        """A lock among the processes; several may hold it unless one wants it alone.

        Raises:
            OSError: Another process has kept it for five seconds, or the folder is gone.
        """
        descriptor = os.open(self.path / name, _FLAGS, 0o600)
        try:
            # A process that was stopped while it held the lock must not stop all others.
            lock_whole(descriptor, self.path / name, patience=_PATIENCE, shared=not alone)
            yield
        finally:
            # Closing is not enough: a child that was forked meanwhile holds a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def leave(self) -> None:
        """Let go of this process's lock; in a forked child the parent still holds it."""
        os.close(self._own)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; like its folder, it need not outlive the machine.

    Raises:
        OSError: It cannot be written.
    """
    hidden = path.with_name(f".{path.name}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | CLOEXEC
    with os.fdopen(os.open(hidden, flags, 0o600), "wb") as stream:
        stream.write(data)
    hidden.rename(path)


def _held(path: Path) -> bool:
    """Whether a live process holds a lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR | CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Current:
    """The folder that this process uses, made at the first use and anew in a forked child."""

    def __init__(self) -> None:
        self._folder: ServiceFolder | None = None
        self._failed = ""
        self._lock = threading.Lock()

    def get(self) -> ServiceFolder | None:
        place = os.environ.get(VARIABLE)
        if not place or place == self._failed:
            return None
        known = self._folder
        if known is not None and known.place == place:
            return known
        with self._lock:
            if self._folder is None or self._folder.place != place:
                self._folder = self._make(place)
            return self._folder

    def _make(self, place: str) -> ServiceFolder | None:
        if self._folder is not None:
            self._folder.leave()
        try:
            return ServiceFolder(place)
        except OSError as error:
            self._failed = place
            _LOG.warning("%s: numbers are of each process alone: %s", VARIABLE, error)
            return None

    def fork(self) -> None:
        """Start anew in a forked child: the files stay the parent's."""
        if self._folder is not None:
            self._folder.leave()
        self._folder, self._lock = None, threading.Lock()


_current: Final = _Current()
at_fork(after_in_child=_current.fork)


def service_folder() -> ServiceFolder | None:
    """The folder of this process's service, or None if it has none or cannot use it."""
    return _current.get()
