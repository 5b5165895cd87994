"""What somebody with write access to an audit log's file can do to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from mlsecops.audit import AuditLog, Checkpoint, LogSigner
from mlsecops.audit.checkpoint import seal
from mlsecops.audit.database import SCHEMA
from mlsecops.provenance.merkle import Peaks, leaf_hash


def _run(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER IF EXISTS entries_stay")
        connection.execute("DROP TRIGGER IF EXISTS entries_remain")
        for statement, values in statements:
            connection.execute(statement, values)
        for statement in SCHEMA:  # whoever changes rows hides it
            connection.execute(statement)


def edit_entry(path: Path, index: int, body: bytes) -> None:
    """Replace an entry's bytes."""
    _run(path, ("UPDATE entries SET body = ? WHERE position = ?", (body, index)))


def delete_entry(path: Path, index: int) -> None:
    """Remove an entry and close the gap."""
    _run(
        path,
        ("DELETE FROM entries WHERE position = ?", (index,)),
        ("UPDATE entries SET position = position - 1 WHERE position > ?", (index,)),
    )


def insert_entry(path: Path, body: bytes) -> None:
    """Append an entry without the operator's signature."""
    _run(path, ("INSERT INTO entries SELECT count(*), ? FROM entries", (body,)))


def forge_head(path: Path, signer: LogSigner) -> Checkpoint:
    """Sign a head for the rows as they stand, with a key of the attacker's own."""
    with closing(sqlite3.connect(path)) as connection:
        bodies = [
            row[0] for row in connection.execute("SELECT body FROM entries ORDER BY position")
        ]
        note = connection.execute("SELECT note FROM head").fetchone()[0]
    peaks = Peaks.EMPTY.extend(leaf_hash(body) for body in bodies)
    forged = seal(
        origin=Checkpoint.parse(note).origin, size=peaks.size, root=peaks.root, signer=signer
    )
    replace_head(path, peaks, forged.note)
    return forged


def replace_head(path: Path, peaks: Peaks, note: str) -> None:
    """Put a compact range and a note of the attacker's choice in place."""
    _run(path, ("UPDATE head SET peaks = ?, note = ?", (b"".join(peaks.hashes), note)))


def restore_older(path: Path, older: bytes) -> None:
    """Put an older copy of the whole file back: every signature in it is genuine."""
    path.write_bytes(older)


def rewrite_history(path: Path, signer: LogSigner, events: list[dict[str, object]]) -> None:
    """Write a whole new log of the same name with the operator's own stolen key."""
    origin = AuditLog(path, keys=[signer.public_key]).checkpoint().origin
    path.unlink()
    log = AuditLog(path, signer=signer, origin=origin)
    for event in events:
        log.append(event)


def killed_while_writing(path: Path) -> None:
    """Leave what a writer leaves that is killed before its commit: a journal to roll back."""
    child = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path,))
    child.start()
    child.join()


def _write_and_die(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
    connection.execute("BEGIN IMMEDIATE")
    for position in range(1000, 1400):
        connection.execute("INSERT INTO entries VALUES (?, ?)", (position, b"x" * 4000))
    os.kill(os.getpid(), signal.SIGKILL)
