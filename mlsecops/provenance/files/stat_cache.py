"""Stat cache: stored digests of files that have not changed since they were hashed.

stamps of files → SQLite table → digests stored after a full hash

A stamp holds the change time, which no program can set: an edit that restores size and modification
time is seen. Anything uncertain is a miss: another stamp, a file so fresh that a later write could
carry the same times, a cache that cannot be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import sqlite3
import stat
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final, TypeAlias, TypeVar

from mlsecops._platform import CLOEXEC, NOFOLLOW
from mlsecops._repr import concise_repr
from mlsecops.errors import MLSecOpsWarning, UsageError
from mlsecops.provenance.digest import SIZES, Digest
from mlsecops.provenance.files.pieces import Span, Stamp

BUSY_SECONDS: Final = 10.0  # seconds of waiting for a lock; chosen: then files are hashed in full
FINE_GRAIN_NS: Final = 50_000_000  # ns; chosen: over the longest tick of a Linux kernel, 10 ms
COARSE_GRAIN_NS: Final = 2_000_000_000  # ns; the granularity of FAT's times, the coarsest in use

T = TypeVar("T")
_Row: TypeAlias = tuple[int, ...]
"""Inode, size, mtime_ns, ctime_ns, first byte and the byte after the last, as in the table."""

_LAYOUT: Final = 1  # version of the table, in `PRAGMA user_version`
_TURNS: Final = 500  # tries within BUSY_SECONDS, 20 ms from one to the next; chosen
_PASSING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
"""Errors that pass: no reason to delete a cache."""
_JOURNALS: Final = ("-wal", "-shm", "-journal")
"""Ends of the files that SQLite reads with a database, and takes for a part of it."""
_ASKED_AT_ONCE: Final = 500  # variables of a query; chosen: below SQLite's lowest limit of 999
_LISTED: Final = 64  # spans; chosen: from here one row for a whole list saves more than it costs
_LISTS: Final = 64  # lists; chosen: as many folders keep a row of their own, the oldest goes
_PLAIN: Final = 2  # version of marshal that refers to no object twice: equal lists, equal bytes
_UNSIGNED: Final = 1 << 64  # one more than the largest unsigned 64-bit number
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS digest (
        device INTEGER NOT NULL, algorithm TEXT NOT NULL, inode INTEGER NOT NULL,
        start INTEGER NOT NULL, stop INTEGER NOT NULL,
        size INTEGER NOT NULL, modified INTEGER NOT NULL, changed INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (device, algorithm, inode, start, stop)
    ) WITHOUT ROWID
"""
_LIST_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS list (number INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)
"""


@concise_repr("path")
class StatCache:
    """Digests of files by stamp; safe with many processes.

    The cache proves nothing: whoever can write it can forge digests. It is created for its owner
    alone, and one that others can write is refused, also by SQLite's own files of the same name or
    in a folder that everybody can write. Never pass it for an artifact that is new on this machine,
    nor while a program holds a writable memory map of a file: its writes change the stamp later.

    Args:
        path: The SQLite file; created if missing, and anew (with a warning) if damaged.
        clock: Nanoseconds since the epoch, of the clock that stamps files.

    Raises:
        UsageError: The file belongs to somebody else, others can write it or its folder, or it
            cannot be created.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - a symlink there is refused, not followed
        self._clock = clock
        self._prepare()

    def now(self) -> int:
        """Time in nanoseconds; take it before a file is read and give it to `store`."""
        return self._clock()

    def lookup(self, spans: Iterable[Span], *, algorithm: str) -> dict[Span, Digest]:
        """Digests of the spans whose stamps are as they were when they were stored.

        A long list of spans that were all found is kept as one row, and found by it the next time.
        """
        asked = list(spans)
        key = hashlib.sha256(algorithm.encode() + marshal.dumps(asked, _PLAIN)).digest()
        if len(asked) >= _LISTED:
            whole = self._attempt(
                lambda each: _listed(each, key, algorithm, len(asked)), otherwise=None
            )
            if whole is not None:
                return dict(zip(asked, whole, strict=True))
        by_device: dict[int, dict[_Row, Span]] = {}
        for span in asked:
            (device, inode, *rest), start, stop = span
            row = (_signed(inode), *rest, start, stop)
            by_device.setdefault(device, {})[row] = span

        def select(connection: sqlite3.Connection) -> dict[Span, Digest]:
            found: dict[Span, Digest] = {}
            for device, wanted in by_device.items():
                found.update(_select(connection, device, algorithm, wanted))
            if len(asked) >= _LISTED and all(span in found for span in asked):
                _keep(connection, key, b"".join(found[span].value for span in asked))
            return found

        return self._attempt(select, otherwise={})

    def store(self, digests: Mapping[Span, Digest], *, began: int) -> int:
        """Keep digests of files that were just hashed in full, and return how many were kept.

        `began` is the value of `now` before the first read. A file that changed within the file
        system's granularity of it is left out, since a later write could leave the same stamp.
        """
        rows = [
            (
                _signed(stamp[0]),
                digest.algorithm,
                _signed(stamp[1]),
                *span,
                *stamp[2:],
                digest.value,
            )
            for (stamp, *span), digest in digests.items()
            if stamp[4] + granularity(stamp) < began
        ]
        insert = "REPLACE INTO digest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

        def insert_all(connection: sqlite3.Connection) -> int:
            connection.executemany(insert, rows)
            return len(rows)

        return self._attempt(insert_all, otherwise=0)

    def _prepare(self) -> None:
        self._require_own()
        try:
            self._lay_out()
        except sqlite3.Error as error:
            if _code(error) in _PASSING:
                raise UsageError(f"cannot use the cache {self.path}: {error}") from error
            self._rebuild(error)

    def _lay_out(self) -> None:
        """Make the table; SQLite does not wait for the switch to a write-ahead log by itself."""
        for turn in range(_TURNS):
            try:
                with closing(self._connect()) as connection:
                    return _lay_out(connection)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or turn == _TURNS - 1:
                    raise
                time.sleep(BUSY_SECONDS / _TURNS)
        return None

    def _require_own(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | NOFOLLOW | CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot use the cache {self.path}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self._require_of_owner(self.path, status)
        folder = os.stat(os.path.dirname(self.path))  # noqa: PTH116, PTH120 - as above
        if hasattr(os, "geteuid") and folder.st_mode & stat.S_IWOTH:
            raise UsageError(
                f"the cache {self.path} is in a folder that everybody can write, also files that "
                "SQLite would read with it: name a path in a folder of your own"
            )

    def _require_own_journals(self) -> None:
        """Refuse files that SQLite reads with the cache, and that others put in the folder."""
        for suffix in _JOURNALS:
            path = f"{self.path}{suffix}"
            with contextlib.suppress(FileNotFoundError):
                self._require_of_owner(path, os.lstat(path))

    def _require_of_owner(self, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"the cache {path} is no regular file: name another path")
        if not hasattr(os, "geteuid"):  # Windows states neither owner nor mode of a file here
            return
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(
                f"the cache {path} could have been written by others (owner {status.st_uid}, "
                f"mode {stat.S_IMODE(status.st_mode):o}): expected one of your own, mode 600; "
                "delete it, or name another path"
            )

    def _connect(self) -> sqlite3.Connection:
        self._require_own_journals()
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _attempt(self, action: Callable[[sqlite3.Connection], T], *, otherwise: T) -> T:
        """Run one transaction on a new connection, so that threads and forks share none.

        A cache that is locked for too long, or cannot grow, is skipped; a damaged one is created
        anew.
        """
        try:
            with closing(self._connect()) as connection, connection:
                return action(connection)
        except sqlite3.Error as error:
            if _code(error) not in _PASSING:
                self._rebuild(error)
                return otherwise
            warnings.warn(
                f"the cache {self.path} is left out: {error}; files are hashed in full",
                MLSecOpsWarning,
                stacklevel=3,
            )
            return otherwise

    def _rebuild(self, error: Exception) -> None:
        warnings.warn(
            f"the cache {self.path} was damaged ({error}) and is created anew; "
            "files are hashed in full",
            MLSecOpsWarning,
            stacklevel=4,
        )
        for suffix in ("", *_JOURNALS):
            try:
                os.unlink(f"{self.path}{suffix}")  # noqa: PTH108 - four names from one
            except FileNotFoundError:
                continue
            except OSError as again:
                raise UsageError(f"cannot use the cache {self.path}: {again.strerror}") from again
        self._require_own()
        try:
            self._lay_out()
        except sqlite3.Error as again:
            raise UsageError(f"cannot use the cache {self.path}: {again}") from again


def _code(error: sqlite3.Error) -> int:
    """Primary result code of an error, or 0: an extended code has it in its lowest byte.

    Source: SQLite, "Result and Error Codes", "Primary Result Codes versus Extended Result Codes".
    """
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def granularity(stamp: Stamp) -> int:
    """Nanoseconds within which two changes of a file can carry the same change time."""
    return COARSE_GRAIN_NS if stamp[4] % 1_000_000_000 == 0 else FINE_GRAIN_NS


def _lay_out(connection: sqlite3.Connection) -> None:
    [mode] = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, _LAYOUT}:
        raise sqlite3.DatabaseError(f"layout {version}: expected {_LAYOUT}")
    with connection:
        connection.execute(_SCHEMA)
        connection.execute(_LIST_SCHEMA)
        if version != _LAYOUT:
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")


def _select(
    connection: sqlite3.Connection, device: int, algorithm: str, wanted: Mapping[_Row, Span]
) -> Iterator[tuple[Span, Digest]]:
    numbers = sorted({row[0] for row in wanted})
    for at in range(0, len(numbers), _ASKED_AT_ONCE):
        asked = numbers[at : at + _ASKED_AT_ONCE]
        rows = connection.execute(
            "SELECT value, inode, size, modified, changed, start, stop FROM digest "  # noqa: S608 - marks only
            f"WHERE device = ? AND algorithm = ? AND inode IN ({','.join('?' * len(asked))})",
            (_signed(device), algorithm, *asked),
        )
        for value, *row in rows:
            span = wanted.get(tuple(row))
            if span is not None:
                yield span, _digest(algorithm, value)


def _listed(
    connection: sqlite3.Connection, key: bytes, algorithm: str, count: int
) -> list[Digest] | None:
    """Digests of a whole list that was kept before, in its order."""
    row = connection.execute("SELECT value FROM list WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    values, size = row[0], SIZES[algorithm]
    if not isinstance(values, bytes) or len(values) != size * count:
        raise sqlite3.DatabaseError(f"a list of {algorithm} values has the wrong length")
    return [Digest(algorithm, values[at : at + size]) for at in range(0, len(values), size)]


def _keep(connection: sqlite3.Connection, key: bytes, value: bytes) -> None:
    connection.execute("REPLACE INTO list (key, value) VALUES (?, ?)", (key, value))
    connection.execute(
        "DELETE FROM list WHERE number <= (SELECT max(number) FROM list) - ?", (_LISTS,)
    )


def _signed(number: int) -> int:
    return number if number < _UNSIGNED >> 1 else number - _UNSIGNED


def _digest(algorithm: str, value: object) -> Digest:
    if not isinstance(value, bytes) or len(value) != SIZES[algorithm]:
        raise sqlite3.DatabaseError(f"a {algorithm} value has the wrong length")
    return Digest(algorithm, value)
