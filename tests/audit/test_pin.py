"""A log that is held to a checkpoint kept elsewhere."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.errors import (
    DigestMismatch,
    EvidenceError,
    MalformedBundle,
    RollbackRefused,
    UsageError,
)
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


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere.txt"


def size(pin: Path) -> int:
    return Checkpoint.parse(pin.read_text()).size


Call = Callable[[AuditLog], object]
CALLS: tuple[Call, ...] = (
    lambda log: log.tail(),
    lambda log: log.verify(),
    lambda log: log.checkpoint(),
    lambda log: log.append({"number": 99}),
)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", [str, lambda checkpoint: checkpoint, "file"])
def test_an_older_log_is_refused_by_a_new_process(
    log: AuditLog, signer: Signer, pin: Path, call: Call, form: object
) -> None:
    older = log.path.read_bytes()
    log.append({"number": 5})
    pin.write_text(str(log.verify()))
    pinned = pin if form == "file" else form(log.verify())  # type: ignore[operator] # the others
    attack.restore_older(log.path, older)
    with pytest.raises(RollbackRefused, match="cut off"):
        call(AuditLog(log.path, signer=signer, pinned=pinned))
    assert size(pin) == 6


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("length", [5, 6, 9])
def test_a_forked_log_is_refused(
    log: AuditLog, signer: Signer, pin: Path, call: Call, length: int
) -> None:
    pin.write_text(str(log.verify()))
    fork = log.path.with_name("fork.sqlite")
    attack.fork(log.path, signer, size=length, target=fork)
    attack.restore_older(log.path, fork.read_bytes())
    with pytest.raises(DigestMismatch, match="rewritten"):
        call(AuditLog(log.path, signer=signer, pinned=pin))
    assert size(pin) == 5


@pytest.mark.parametrize("call", CALLS)
def test_another_log_of_the_operator_is_refused(
    log: AuditLog, signer: Signer, pin: Path, call: Call, tmp_path: Path
) -> None:
    pin.write_text(str(log.verify()))
    other = AuditLog(tmp_path / "other.sqlite", signer=signer)
    for number in range(9):
        other.append({"number": number})
    with pytest.raises(DigestMismatch, match="another log"):
        call(AuditLog(other.path, signer=signer, pinned=pin))


def test_a_removed_log_is_not_begun_again(log: AuditLog, signer: Signer, pin: Path) -> None:
    pin.write_text(str(log.verify()))
    log.path.unlink()
    with pytest.raises(RollbackRefused, match="removed"):
        AuditLog(log.path, signer=signer, pinned=pin).append({"number": 0})
    assert not log.path.exists()
    log.path.write_bytes(b"")
    with pytest.raises(RollbackRefused, match="removed"):
        AuditLog(log.path, signer=signer, pinned=pin).append({"number": 0})


@pytest.mark.parametrize("call", CALLS)
def test_the_file_moves_forward(log: AuditLog, signer: Signer, pin: Path, call: Call) -> None:
    reader = AuditLog(log.path, signer=signer, pinned=pin)
    call(reader)
    begun = size(pin)
    assert begun == log.verify().size
    log.append({"number": 5})
    call(reader)
    assert size(pin) == log.verify().size > begun
    assert stat.S_IMODE(pin.stat().st_mode) == 0o600


def test_a_pinned_file_that_is_put_back_does_not_deceive_a_running_process(
    log: AuditLog, signer: Signer, pin: Path
) -> None:
    reader = AuditLog(log.path, keys=[signer.public_key], pinned=pin)
    reader.tail()
    earlier, older = pin.read_bytes(), log.path.read_bytes()
    log.append({"number": 5})
    reader.tail()
    pin.write_bytes(earlier)
    attack.restore_older(log.path, older)
    with pytest.raises(RollbackRefused):
        reader.tail()
    pin.unlink()
    with pytest.raises(RollbackRefused):
        reader.tail()


def test_a_slow_process_does_not_move_the_file_back(
    log: AuditLog, signer: Signer, pin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = (AuditLog(log.path, keys=[signer.public_key], pinned=pin) for _ in range(2))
    slow.tail()
    log.append({"number": 5})
    advance = slow._pin.advance  # type: ignore[union-attr] # it has one

    def late(checkpoint: Checkpoint, *, checked: Checkpoint | None) -> None:
        log.append({"number": 6})
        fast.tail()
        advance(checkpoint, checked=checked)

    monkeypatch.setattr(slow._pin, "advance", late)
    slow.tail()
    assert size(pin) == 7


def _read_often(path: Path, key: str, pin: Path) -> None:
    from mlsecops.signing import PublicKey  # noqa: PLC0415 - in the child

    reader = AuditLog(path, keys=[PublicKey.load(key.encode())], pinned=pin)
    for _ in range(30):
        reader.tail()


def test_many_processes_move_one_file(log: AuditLog, signer: Signer, pin: Path) -> None:
    context = multiprocessing.get_context("fork")
    work = (log.path, signer.public_key.pem, pin)
    readers = [context.Process(target=_read_often, args=work) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(20):
        log.append({"number": number})
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0, 0, 0]
    AuditLog(log.path, keys=[signer.public_key], pinned=pin).tail()
    assert size(pin) == 25


def test_a_file_that_may_not_be_written_is_a_fixed_checkpoint(
    log: AuditLog, signer: Signer, pin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    pin.write_text(str(log.verify()))
    log.append({"number": 5})
    monkeypatch.setattr("mlsecops.audit.pin.open_private", denied)
    reader = AuditLog(log.path, keys=[signer.public_key], pinned=pin)
    assert reader.tail().checkpoint.size == 6
    assert size(pin) == 5
    attack.restore_older(log.path, b"")
    with pytest.raises(EvidenceError):
        reader.tail()


def test_a_full_disk_is_an_error(
    log: AuditLog, pin: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlsecops.audit.pin.write_privately", full)
    with pytest.raises(EvidenceError, match="No space"):
        AuditLog(log.path, keys=[signer.public_key], pinned=pin).tail()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"a\n1\n\n", b"\xff" * 99])
def test_a_file_without_a_checkpoint_is_refused(log: AuditLog, pin: Path, content: bytes) -> None:
    pin.write_bytes(content)
    with pytest.raises(MalformedBundle):
        AuditLog(log.path, pinned=pin)


def test_a_path_that_cannot_hold_a_checkpoint_is_wrong_use(log: AuditLog, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "pin", "/dev/zero"):
        with pytest.raises(UsageError, match="pinned"):
            AuditLog(log.path, pinned=path)


def test_a_pinned_file_that_cannot_be_read_any_more_is_no_permission(
    log: AuditLog, signer: Signer, pin: Path
) -> None:
    reader = AuditLog(log.path, keys=[signer.public_key], pinned=pin)
    reader.verify()
    pin.unlink()
    pin.mkdir()
    with pytest.raises(EvidenceError, match="pinned: cannot read"):
        reader.verify()
