"""Attacks on an audit log by somebody with write access to its file."""

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


def run_script(path: Path, script: str) -> None:
    """Run SQL statements on the file, constraints and the schema table included."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(script)


_FREE = "DROP TRIGGER entries_stay; DROP TRIGGER entries_remain;"
_KEPT = f"{_FREE} ALTER TABLE entries RENAME TO kept;"
FOREIGN_SCHEMAS = {
    "endless view": _KEPT + "CREATE VIEW entries AS WITH RECURSIVE n(position) AS (SELECT 0 UNION"  # noqa: S608
    " ALL SELECT position + 1 FROM n) SELECT position, zeroblob(1000) AS body FROM n;",
    "view over the head": "ALTER TABLE head RENAME TO kept; CREATE VIEW head AS SELECT * FROM kept;",  # noqa: E501
    "view besides": "CREATE VIEW more AS SELECT 1;",
    "trigger besides": "CREATE TRIGGER more AFTER INSERT ON entries BEGIN DELETE FROM head; END;",
    "triggers missing": _FREE,
    "table besides": "CREATE TABLE more (a);",
    "index besides": "CREATE INDEX more ON entries (length(body));",
    "virtual table": "CREATE VIRTUAL TABLE more USING fts5(body);",
    "generated column": _FREE + "DROP TABLE entries; CREATE TABLE entries (position INTEGER PRIMARY"
    " KEY, body BLOB GENERATED ALWAYS AS (zeroblob(1000)) STORED);",
    "column with a default": "ALTER TABLE head ADD COLUMN more TEXT DEFAULT 'x';",
    "other text": "UPDATE sqlite_master SET sql = replace(sql, ' STRICT', ' strict');",
    "statistics": "INSERT INTO head VALUES (0, x'', '') ON CONFLICT DO NOTHING; ANALYZE;",
    "many tables": f"BEGIN; {''.join(f'CREATE TABLE t{n} (a);' for n in range(2000))} COMMIT;",
}


def exchange_types(path: Path, body: str, *, index: int = 2) -> None:
    """Store an entry's body as the value of an SQL expression, under an unchanged schema."""
    with closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    run_script(
        path,
        "DROP TRIGGER entries_stay; DROP TRIGGER entries_remain; ALTER TABLE entries RENAME TO old;"  # noqa: S608
        "CREATE TABLE entries (position INTEGER PRIMARY KEY, body);"
        f"INSERT INTO entries SELECT position, iif(position = {index}, {body}, body) FROM old;"
        "DROP TABLE old;",
    )
    stated = dict(schema)["entries"].replace("'", "''")
    run_script(path, f"UPDATE sqlite_master SET sql = '{stated}' WHERE name = 'entries'")  # noqa: S608
    _run(path)


def loop_overflow(path: Path, signer: LogSigner) -> int:
    """Give an entry fifty times its bytes by leading its chain of overflow pages in a circle.

    Returns:
        The length of the body that SQLite would read.
    """
    length, longer = 20_000, 20_000 + 4_092 * 240
    AuditLog(path, signer=signer).append({"a": "x" * (length - 8)})
    data = bytearray(path.read_bytes())
    place = data.index(_varint(length + 5))
    while data[place + 4 : place + 9] != bytes([5, 0]) + _varint(2 * length + 12):
        place = data.index(_varint(length + 5), place + 1)
    data[place : place + 3] = _varint(longer + 5)
    data[place + 6 : place + 9] = _varint(2 * longer + 12)
    local = 489 + (length + 5 - 489) % 4_092
    first = int.from_bytes(data[place + 4 + local : place + 8 + local])
    page = first
    while following := int.from_bytes(data[(page - 1) * 4096 : (page - 1) * 4096 + 4]):
        page = following
    data[(page - 1) * 4096 : (page - 1) * 4096 + 4] = first.to_bytes(4)
    path.write_bytes(data)
    return longer


def _varint(value: int) -> bytes:
    return bytes([value >> 14 | 0x80, value >> 7 & 0x7F | 0x80, value & 0x7F])


def journal_naming(path: Path, victim: Path) -> None:
    """Leave a crash journal whose super-journal is another file, which SQLite then deletes."""
    killed_while_writing(path)
    name = str(victim).encode()
    check = sum(byte if byte < 128 else byte - 256 for byte in name) & 0xFFFFFFFF
    record = (0x40000000 // 4096 + 1).to_bytes(4) + name + len(name).to_bytes(4)
    with path.with_name(f"{path.name}-journal").open("ab") as journal:
        journal.write(record + check.to_bytes(4) + bytes.fromhex("d9d505f920a163d7"))


def fork(path: Path, signer: LogSigner, *, size: int, target: Path) -> None:
    """Another history of the same log and size, signed with the operator's own key."""
    origin = AuditLog(path, keys=[signer.public_key]).checkpoint().origin
    log = AuditLog(target, signer=signer, origin=origin)
    for number in range(size):
        log.append({"type": "created", "at": "2026-01-01T00:00:00+00:00", "fork": number})
