from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.errors import (
    DigestMismatch,
    EvidenceError,
    MalformedBundle,
    RollbackRefused,
    SignatureInvalid,
    UntrustedSigner,
    UsageError,
    VerificationError,
)
from mlsecops.provenance.merkle import Peaks, leaf_hash, root
from mlsecops.signing import Signer
from tests.attackers import audit as attack


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("ed25519")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path, signer: Signer) -> AuditLog:
    log = AuditLog(path, signer=signer)
    for number in range(5):
        log.append({"number": number})
    return log


def test_events_come_back_in_order(log: AuditLog) -> None:
    assert log.append({"number": 5}) == 5
    assert [event["number"] for event in log.events()] == [0, 1, 2, 3, 4, 5]


def test_the_checkpoint_states_the_merkle_root_of_the_entries(log: AuditLog) -> None:
    leaves = [
        leaf_hash(json.dumps({"number": n}, separators=(",", ":")).encode()) for n in range(5)
    ]
    checkpoint = log.verify()
    assert (checkpoint.size, checkpoint.root) == (5, root(leaves))
    assert checkpoint == log.checkpoint()


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "rsa"])
def test_every_kind_of_key_signs_a_log(path: Path, kind: str) -> None:
    signer = Signer.generate(kind)  # type: ignore[arg-type] # parametrized over the literals
    AuditLog(path, signer=signer).append({"a": 1})
    assert AuditLog(path, keys=[signer.public_key]).verify().size == 1


def test_a_reader_needs_the_public_key_only(log: AuditLog, signer: Signer) -> None:
    reader = AuditLog(log.path, keys=[signer.public_key])
    assert reader.verify() == log.verify()
    with pytest.raises(UsageError, match="signer"):
        reader.append({"a": 1})


def test_a_reader_can_open_a_file_it_cannot_write(log: AuditLog, signer: Signer) -> None:
    log.path.chmod(0o444)
    log.path.parent.chmod(0o555)
    try:
        assert AuditLog(log.path, keys=[signer.public_key]).verify().size == 5
    finally:
        log.path.parent.chmod(0o755)


def test_a_reader_without_any_key_is_told_so(log: AuditLog) -> None:
    with pytest.raises(UsageError, match="no key"):
        AuditLog(log.path).verify()


def test_a_missing_log_is_no_empty_log(path: Path, signer: Signer) -> None:
    with pytest.raises(EvidenceError, match="no such file"):
        AuditLog(path, keys=[signer.public_key]).verify()


def test_a_file_that_is_no_log_is_refused(path: Path, signer: Signer) -> None:
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(EvidenceError):
        AuditLog(path, signer=signer).verify()
    with pytest.raises(EvidenceError):
        AuditLog(path, signer=signer).append({})


def test_an_edited_entry_is_noticed(log: AuditLog) -> None:
    attack.edit_entry(log.path, 2, b'{"number":200}')
    with pytest.raises(DigestMismatch, match="edited"):
        log.verify()
    with pytest.raises(DigestMismatch):
        log.events()


def test_a_deleted_entry_is_noticed(log: AuditLog) -> None:
    attack.delete_entry(log.path, 2)
    with pytest.raises(DigestMismatch, match="removed"):
        log.verify()


def test_an_entry_that_nobody_signed_is_noticed(log: AuditLog) -> None:
    attack.insert_entry(log.path, b'{"number":99}')
    with pytest.raises(DigestMismatch, match="inserted"):
        log.verify()
    with pytest.raises(DigestMismatch, match="inserted"):
        log.append({"number": 5})


def test_a_forged_checkpoint_is_noticed_and_not_signed_over(log: AuditLog) -> None:
    attack.edit_entry(log.path, 2, b'{"number":200}')
    attack.forge_head(log.path, Signer.generate("ed25519"))
    with pytest.raises(UntrustedSigner):
        log.verify()
    with pytest.raises(UntrustedSigner):
        log.append({"number": 5})


def test_an_altered_checkpoint_is_noticed(log: AuditLog) -> None:
    note = str(log.checkpoint())
    attack.replace_head(log.path, Peaks.EMPTY, note.replace("\n5\n", "\n4\n"))
    with pytest.raises(SignatureInvalid, match="forged"):
        log.verify()


def test_a_damaged_compact_range_is_not_signed_over(log: AuditLog) -> None:
    wrong, note = Peaks.EMPTY.extend(leaf_hash(b"x") for _ in range(5)), str(log.checkpoint())
    for peaks, message in ((wrong, "with root"), (Peaks.EMPTY, "compact range is damaged")):
        attack.replace_head(log.path, peaks, note)
        with pytest.raises(DigestMismatch, match=message):
            log.append({"number": 5})


def test_a_log_without_its_checkpoint_or_its_file_is_no_empty_log(
    log: AuditLog, path: Path, signer: Signer
) -> None:
    attack.run_script(path, "DELETE FROM head")
    with pytest.raises(EvidenceError, match="has no checkpoint"):
        log.verify()
    path.write_bytes(b"")
    with pytest.raises(EvidenceError, match="has no checkpoint"):
        log.verify()
    with pytest.raises(EvidenceError, match="Not a directory"):
        AuditLog(path / "log.sqlite", signer=signer).verify()


def test_an_older_copy_is_noticed_with_a_pinned_checkpoint(log: AuditLog) -> None:
    older = log.path.read_bytes()
    log.append({"number": 5})
    pinned = log.verify()
    attack.restore_older(log.path, older)
    assert log.verify().size == 5  # without the pin it is a genuine log
    with pytest.raises(RollbackRefused, match="cut off"):
        log.verify(pinned)
    with pytest.raises(RollbackRefused):
        log.verify(str(pinned))


def test_a_log_rewritten_with_the_operators_key_is_noticed_with_a_pinned_checkpoint(
    log: AuditLog, signer: Signer
) -> None:
    pinned = log.verify()
    attack.rewrite_history(log.path, signer, [{"number": n * 2} for n in range(9)])
    assert log.verify().size == 9
    with pytest.raises(DigestMismatch, match="rewritten"):
        log.verify(pinned)


def test_another_log_of_the_same_operator_is_noticed(
    log: AuditLog, signer: Signer, tmp_path: Path
) -> None:
    other = AuditLog(tmp_path / "other.sqlite", signer=signer)
    for number in range(9):
        other.append({"number": number})
    pinned = log.verify()
    attack.restore_older(log.path, other.path.read_bytes())
    with pytest.raises(DigestMismatch, match="another log"):
        log.verify(pinned)
    named = AuditLog(log.path, signer=signer, origin=pinned.origin)
    with pytest.raises(DigestMismatch, match="another log replaced it"):
        named.verify()


def test_a_reader_in_the_middle_sees_the_log_shrink(log: AuditLog) -> None:
    older = log.path.read_bytes()
    log.append({"number": 5})
    tail = log.tail()
    attack.restore_older(log.path, older)
    with pytest.raises(RollbackRefused):
        log.tail(tail.peaks)


def test_a_tail_holds_only_what_is_new(log: AuditLog) -> None:
    seen = log.tail().peaks
    log.append({"number": 5})
    assert log.tail(seen).events == ({"number": 5},)


def test_a_pin_of_an_older_size_is_satisfied_by_a_longer_log(log: AuditLog) -> None:
    pinned = log.verify()
    log.append({"number": 5})
    assert log.verify(pinned).size == 6


def test_an_append_decided_on_an_older_log_is_not_made(log: AuditLog) -> None:
    assert log.try_append({"number": 5}, size=5) == 5
    assert log.try_append({"number": 6}, size=5) is None
    assert log.verify().size == 6


def test_rows_cannot_be_changed_by_an_honest_program(log: AuditLog) -> None:
    import sqlite3  # noqa: PLC0415 - only this test talks to the file itself

    with sqlite3.connect(log.path) as connection, pytest.raises(sqlite3.Error, match="append-only"):
        connection.execute("DELETE FROM entries")


@pytest.mark.parametrize("event", [{"a": float("nan")}, {"a": object()}])
def test_an_event_that_is_no_json_is_refused(log: AuditLog, event: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        log.append(event)
    assert log.verify().size == 5


@pytest.mark.parametrize("origin", ["", "with space", "a+b", "line\nbreak"])
def test_an_origin_that_cannot_stand_in_a_note_is_refused(path: Path, origin: str) -> None:
    with pytest.raises(UsageError, match="origin"):
        AuditLog(path, origin=origin)


def _append_many(path: Path, pem: Path, start: int) -> None:
    log = AuditLog(path, signer=Signer.from_pem(pem))
    for number in range(start, start + 10):
        log.append({"number": number})


def test_many_processes_append_to_one_log(tmp_path: Path, path: Path) -> None:
    signer = Signer.generate("p256")
    pem = tmp_path / "key.pem"
    pem.write_bytes(signer.to_pem())
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append_many, args=(path, pem, start))
        for start in (0, 100, 200, 300)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    log = AuditLog(path, keys=[signer.public_key])
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert log.verify().size == 40
    assert len({event["number"] for event in log.events()}) == 40


def test_many_threads_append_to_one_log(log: AuditLog) -> None:
    threads = [threading.Thread(target=log.append, args=({"thread": n},)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.verify().size == 13


def test_a_failed_signature_leaves_the_log_as_it_was(log: AuditLog, signer: Signer) -> None:
    class Broken:
        public_key = signer.public_key

        def sign(self, _data: bytes, /) -> bytes:
            raise OSError("the key is gone")

    with pytest.raises(OSError, match="gone"):
        AuditLog(log.path, signer=Broken()).append({"number": 5})
    assert log.verify().size == 5


@given(note=st.text(max_size=300))
def test_no_text_makes_the_checkpoint_reader_fail_in_another_way(note: str) -> None:
    try:
        Checkpoint.parse(note)
    except MalformedBundle:
        return
    raise AssertionError("random text passed as a checkpoint")  # pragma: no cover


def test_every_truncation_of_a_checkpoint_is_refused(log: AuditLog, signer: Signer) -> None:
    note = str(log.checkpoint())
    for end in range(len(note)):
        attack.replace_head(log.path, Peaks.EMPTY, note[:end])
        with pytest.raises(VerificationError):
            AuditLog(log.path, keys=[signer.public_key]).checkpoint()


def test_readers_and_writers_go_on_after_a_writer_was_killed(
    log: AuditLog, path: Path, signer: Signer
) -> None:
    attack.killed_while_writing(path)
    assert path.with_name("log.sqlite-journal").exists(), "the attack itself does not work"
    assert len(AuditLog(path, keys=[signer.public_key]).events()) == 5
    assert log.append({"number": 5}) == 5
