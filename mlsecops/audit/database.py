"""Confined SQLite file of an audit log.

path → file types → connection with limits → schema as `SCHEMA` states it → head row → entry rows

Whoever can write the file is not trusted: SQLite is given no view, trigger, table, row or file of
theirs to work on, and no more steps and bytes than the file's size explains.

Source: SQLite, "Defense Against The Dark Arts"; "Database File Format", section 3 (rollback
journal).
"""

from __future__ import annotations

import functools
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from mlsecops._files import open_private
from mlsecops._platform import CLOEXEC, NOFOLLOW, NONBLOCK, read_at
from mlsecops.errors import DigestMismatch, EvidenceError, UsageError

__all__ = ["MOST_ENTRY_BYTES", "LogFile", "reading", "writing"]

MOST_ENTRY_BYTES: Final = 16 << 20  # bytes; chosen: a monitor's snapshot takes under one megabyte
_WAIT_SECONDS: Final = 60.0  # seconds of waiting for a writer's lock; chosen
_HEAD_BYTES: Final = 131_072  # bytes; chosen: twice the longest signed note
_STEPS: Final = 1_000_000  # SQLite instructions; chosen: about 0.1 s, an append takes under 500
_STEP: Final = 1_000  # SQLite instructions between two looks at the budget; chosen
_SUPER_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")  # SQLite file format, section 3
_LIMITS: Final = (
    (sqlite3.SQLITE_LIMIT_LENGTH, _HEAD_BYTES),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 4_096),
    (sqlite3.SQLITE_LIMIT_COLUMN, 16),
    (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 16),
    (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 2),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
)
_PRAGMAS: Final = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
SCHEMA: Final = (
    (
        "CREATE TABLE IF NOT EXISTS entries"
        " (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE IF NOT EXISTS head"
        " (id INTEGER PRIMARY KEY CHECK (id = 0), peaks BLOB NOT NULL, note TEXT NOT NULL) STRICT"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries"
        " BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS entries_remain BEFORE DELETE ON entries"
        " BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    ),
)
_BEFORE: Final = "SELECT EXISTS (SELECT 1 FROM entries WHERE position < 0)"
_AFTER: Final = "SELECT EXISTS (SELECT 1 FROM entries WHERE position >= ?)"
_STATED: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT ?"


class LogFile:
    """An open log inside a transaction, whose schema is `SCHEMA`.

    Args:
        path: The file, for messages.
        connection: The confined connection, inside a transaction.
        budget: Steps that are left.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, budget: _Budget) -> None:
        self._path = path
        self._connection = connection
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [page] = connection.execute("PRAGMA page_size").fetchone()
        self.size: Final = int(pages) * int(page)
        budget.left += self.size  # an honest row takes more bytes than steps

    def head(self) -> tuple[bytes, str] | None:
        """Compact range and note of the last checkpoint, or None in a new log.

        Raises:
            DigestMismatch: There are several heads, or one of other types.
        """
        rows = self._connection.execute("SELECT peaks, note FROM head LIMIT 2").fetchall()
        if not rows:
            return None
        peaks, note = rows[0]
        if len(rows) > 1 or not isinstance(peaks, bytes) or not isinstance(note, str):
            raise DigestMismatch(
                f"audit log {self._path}: its head is damaged: expected one row of bytes and text; "
                "restore the file"
            )
        return peaks, note

    def require_end(self, size: int) -> None:
        """Demand that no row lies outside the first `size` entries; their bodies are not read.

        Raises:
            DigestMismatch: There is one.
        """
        for query, place in ((_BEFORE, ()), (_AFTER, (size,))):
            if self._connection.execute(query, place).fetchone()[0]:
                raise DigestMismatch(
                    f"audit log {self._path}: expected {size} entries, got more than its "
                    "checkpoint covers; entries were inserted: restore the file and find out who "
                    "wrote it"
                )

    def bodies(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes of the entries from `start` up to `end`, which is not included.

        Raises:
            DigestMismatch: One is missing, no bytes, or more than the file can hold.
        """
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(self.size, MOST_ENTRY_BYTES))
        rows = self._connection.execute(
            "SELECT position, body FROM entries WHERE position >= ? AND position < ?"
            " ORDER BY position",
            (start, end),
        )
        left = self.size
        for expected, (position, body) in enumerate(rows, start):
            if position != expected or not isinstance(body, bytes):
                raise DigestMismatch(
                    f"audit log {self._path}: expected the bytes of entry {expected}, got "
                    f"{type(body).__name__} of entry {position}; restore the file"
                )
            left -= len(body)
            if left < 0:
                raise DigestMismatch(
                    f"audit log {self._path}: its entries have more bytes than the file; "
                    "restore the file"
                )
            yield body

    def add(self, position: int, body: bytes, *, peaks: bytes, note: str) -> None:
        """Add an entry and replace the head.

        Raises:
            UsageError: The entry is too long.
        """
        if len(body) > MOST_ENTRY_BYTES:
            raise UsageError(
                f"audit event: expected at most {MOST_ENTRY_BYTES} bytes, got {len(body)}; "
                "record a digest of the data instead"
            )
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_ENTRY_BYTES + _HEAD_BYTES)
        self._connection.execute("INSERT INTO entries VALUES (?, ?)", (position, body))
        self._connection.execute("INSERT OR REPLACE INTO head VALUES (0, ?, ?)", (peaks, note))


@contextmanager
def reading(path: Path) -> Iterator[LogFile]:
    """A snapshot of a log.

    Raises:
        EvidenceError: There is no such file, it is no log, or it cannot be read.
        DigestMismatch: It has another schema.
    """
    with _evident(path), closing(_opened(path, write=False)) as connection:
        yield _begun(path, connection, "BEGIN")


@contextmanager
def writing(path: Path) -> Iterator[LogFile]:
    """A transaction that holds the write lock from its start; a missing file is created.

    Raises:
        EvidenceError: It is no log, or cannot be written.
        DigestMismatch: It has another schema.
    """
    with _evident(path), closing(_opened(path, write=True)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        yield _begun(path, connection, "BEGIN IMMEDIATE")
        connection.execute("COMMIT")


class _Budget:
    """Progress handler: stops SQLite once its steps are used up."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= _STEP
        return self.left < 0


def _opened(path: Path, *, write: bool) -> sqlite3.Connection:
    try:
        if write and not _is_there(path):
            _create(path)
        elif not _is_there(path):
            raise EvidenceError(f"audit log {path}: there is no such file")
        _require_plain(path)
        # A killed writer leaves a journal, which only a connection that may write can roll back.
        mode = "rw" if write or _is_there(_sibling(path, "-journal")) else "ro"
    except OSError as error:
        raise EvidenceError(f"audit log {path}: {error.strerror}") from error
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
    for limit, most in _LIMITS:
        connection.setlimit(limit, most)
    return connection


def _begun(path: Path, connection: sqlite3.Connection, begin: str) -> LogFile:
    budget = _Budget(_STEPS)
    connection.set_progress_handler(budget, _STEP)
    for pragma in (*_PRAGMAS, f"query_only = {begin == 'BEGIN'}"):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("delete",):
        raise _another_schema(path, "a write-ahead log")
    connection.execute(begin)
    stated = connection.execute(_STATED, (len(SCHEMA) + 1,)).fetchall()
    if not stated and begin != "BEGIN":
        for statement in SCHEMA:
            connection.execute(statement)
    elif not stated:
        raise EvidenceError(f"audit log {path}: it has no checkpoint")
    elif sorted(stated, key=repr) != _schema():
        names = ", ".join(repr(row[1])[:40] for row in stated)
        raise _another_schema(path, f"a database with {names}")
    return LogFile(path, connection, budget)


@functools.cache
def _schema() -> list[tuple[str, str, str, str]]:
    """Rows that SQLite itself writes for `SCHEMA`."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        return sorted(connection.execute(_STATED, (len(SCHEMA) + 1,)).fetchall(), key=repr)


def _require_plain(path: Path) -> None:
    """Demand regular files, none of them a link, and a journal that names no other file.

    SQLite deletes the file that a journal names as its super-journal; the log never has one. A log
    never has a write-ahead log either.
    """
    for suffix in ("", "-journal", "-wal", "-shm"):
        place = _sibling(path, suffix)
        if not _is_there(place):
            continue
        if not stat.S_ISREG(place.lstat().st_mode) or suffix in {"-wal", "-shm"}:
            raise _another_schema(place, "a link, folder, pipe, device or write-ahead log")
    journal = _sibling(path, "-journal")
    if _is_there(journal) and _end(journal, len(_SUPER_JOURNAL)) == _SUPER_JOURNAL:
        raise _another_schema(journal, "a journal that names another file")


def _end(path: Path, count: int) -> bytes:
    """Last bytes of a file; none if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return read_at(descriptor, count, max(os.fstat(descriptor).st_size - count, 0))
    finally:
        os.close(descriptor)


def _sibling(path: Path, suffix: str) -> Path:
    return Path(f"{path}{suffix}")


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _create(path: Path) -> None:
    """Make an empty private file; a descriptor closed later would end other threads' locks."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    os.close(open_private(draft, os.O_WRONLY | os.O_EXCL, shared=True))
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _another_schema(path: Path, got: str) -> DigestMismatch:
    return DigestMismatch(
        f"audit log {path}: expected the tables and triggers of a log, got {got}; "
        "restore the file and find out who wrote it"
    )


@contextmanager
def _evident(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # also of a message with a damaged name
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            reason = "it takes more steps than a log of its size"
        else:
            reason = str(error)
        raise EvidenceError(
            f"audit log {path}: {reason}; restore the file, or its permissions"
        ) from error
