"""A log's file in the hands of somebody who can write it."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from mlsecops.audit import AuditLog
from mlsecops.audit.database import MOST_ENTRY_BYTES, reading
from mlsecops.errors import DigestMismatch, EvidenceError, MLSecOpsError, UsageError
from mlsecops.signing import Signer
from tests.attackers import audit as attack


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("ed25519")


@pytest.fixture
def log(tmp_path: Path, signer: Signer) -> AuditLog:
    log = AuditLog(tmp_path / "log.sqlite", signer=signer)
    for number in range(5):
        log.append({"number": number})
    return log


def refuses(log: AuditLog, says: str, *, kind: type[MLSecOpsError] = DigestMismatch) -> None:
    """Demand that every call refuses at once."""
    for call in (log.tail, log.verify, log.checkpoint, lambda: log.append({"number": 5})):
        with pytest.raises(kind, match=says):
            call()


@pytest.mark.parametrize("name", attack.FOREIGN_SCHEMAS)
def test_another_schema_is_refused_before_a_row_is_read(log: AuditLog, name: str) -> None:
    attack.run_script(log.path, attack.FOREIGN_SCHEMAS[name])
    refuses(log, "expected the tables and triggers of a log")


def test_a_write_ahead_log_is_refused(log: AuditLog) -> None:
    with sqlite3.connect(log.path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    refuses(log, "write-ahead log")


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_file_of_a_write_ahead_log_is_refused(log: AuditLog, suffix: str) -> None:
    Path(f"{log.path}{suffix}").write_bytes(b"")
    refuses(log, "write-ahead log")


@pytest.mark.parametrize("body", ["'text'", "7", "1.5", "NULL"])
def test_an_entry_of_another_type_is_refused(log: AuditLog, body: str) -> None:
    attack.exchange_types(log.path, body)
    for call in (log.tail, log.verify):
        with pytest.raises(DigestMismatch, match="expected the bytes of entry 2"):
            call()


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE head SET note = x'00'",
        "UPDATE head SET peaks = 7",
        "INSERT INTO head SELECT 1, peaks, note FROM head",
    ],
)
def test_a_head_of_another_shape_is_refused(log: AuditLog, script: str) -> None:
    with sqlite3.connect(log.path) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name='head'").fetchone()
    connection.close()
    free = "id INTEGER PRIMARY KEY, peaks, note"
    attack.run_script(
        log.path,
        "ALTER TABLE head RENAME TO old;"  # noqa: S608
        f"CREATE TABLE head ({free}); INSERT INTO head SELECT * FROM old; DROP TABLE old; {script};"
        f"UPDATE sqlite_master SET sql = '{sql}' WHERE name = 'head'",
    )
    refuses(log, "its head is damaged")


@pytest.mark.parametrize("table", ["entries", "head"])
def test_a_table_that_is_another_b_tree_is_refused(log: AuditLog, table: str) -> None:
    attack.run_script(log.path, f"UPDATE sqlite_master SET rootpage = 1 WHERE name = '{table}'")  # noqa: S608
    for call in (log.tail, log.verify):
        with pytest.raises((DigestMismatch, EvidenceError)):
            call()


def test_no_row_past_the_checkpoint_is_read(log: AuditLog) -> None:
    attack.insert_entry(log.path, bytes(MOST_ENTRY_BYTES * 2))
    refuses(log, "more than its checkpoint covers")


def test_a_row_before_the_first_is_refused(log: AuditLog) -> None:
    attack.run_script(log.path, "INSERT INTO entries VALUES (-1, x'00')")
    refuses(log, "more than its checkpoint covers")


def test_an_entry_longer_than_its_file_is_not_read(log: AuditLog, signer: Signer) -> None:
    longer = attack.loop_overflow(log.path, signer)
    with sqlite3.connect(log.path) as connection:
        (read,) = connection.execute("SELECT length(body) FROM entries ORDER BY 1 DESC").fetchone()
    connection.close()
    assert read == longer > 10 * log.path.stat().st_size, "the attack itself does not work"
    for call in (log.tail, log.verify):
        with pytest.raises(EvidenceError, match="too big"):
            call()


def test_entries_with_more_bytes_than_their_file_are_not_read(log: AuditLog) -> None:
    with reading(log.path) as file:
        file.size = 20  # type: ignore[misc] # shorter than two entries, longer than one
        with pytest.raises(DigestMismatch, match="more bytes than the file"):
            list(file.bodies(0, 5))


def test_a_flood_of_new_events_is_not_kept_in_memory(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.audit.log._MOST_TAIL_BYTES", 20)
    with pytest.raises(EvidenceError, match="bytes of new events"):
        log.events()
    assert log.verify().size == 5


def test_a_long_note_is_not_read(log: AuditLog) -> None:
    attack.run_script(log.path, "UPDATE head SET note = printf('%.*c', 5000000, 'x')")
    refuses(log, "too big", kind=EvidenceError)


def test_an_entry_that_no_reader_would_take_is_not_added(log: AuditLog) -> None:
    with pytest.raises(UsageError, match="record a digest"):
        log.append({"a": "x" * MOST_ENTRY_BYTES})
    assert log.verify().size == 5


def test_more_steps_than_the_file_explains_are_not_taken(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.audit.database._STEPS", 0)
    monkeypatch.setattr("mlsecops.audit.database._STEP", 1)
    with pytest.raises(EvidenceError, match="more steps"):
        log.tail()


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("exchange", [_link, _pipe, _folder])
def test_a_log_that_is_no_regular_file_is_refused(log: AuditLog, exchange: object) -> None:
    exchange(log.path)  # type: ignore[operator] # one of the three above
    refuses(log, "a link, folder, pipe")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: Path(path).symlink_to("x")])
def test_a_journal_that_is_no_regular_file_is_refused(log: AuditLog, make: object) -> None:
    make(f"{log.path}-journal")  # type: ignore[operator] # one of the three above
    refuses(log, "a link, folder, pipe")


def test_a_journal_cannot_delete_another_file(log: AuditLog, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    attack.journal_naming(log.path, victim)
    refuses(log, "names another file")
    assert victim.read_text() == "precious"


def test_the_journal_attack_itself_works(log: AuditLog, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    attack.journal_naming(log.path, victim)
    sqlite3.connect(log.path).execute("SELECT count(*) FROM entries").fetchone()
    assert not victim.exists()


def test_damaged_pages_are_refused_or_read_as_they_were(log: AuditLog) -> None:
    good, events = log.path.read_bytes(), log.events()
    source = random.Random(7)  # noqa: S311 - damages a file
    for _ in range(300):
        data = bytearray(good)
        for _ in range(source.choice([1, 2, 8, 64])):
            data[source.randrange(len(data))] = source.randrange(256)
        log.path.write_bytes(data)
        try:
            assert log.events() == events
        except MLSecOpsError:
            continue


def test_cut_files_are_refused(log: AuditLog) -> None:
    good = log.path.read_bytes()
    for end in range(0, len(good), 511):
        log.path.write_bytes(good[:end])
        with pytest.raises(MLSecOpsError):
            log.events()
