"""Decision log: durable batches, and denial where it cannot be written."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mlsecops.access import DecisionLog
from mlsecops.errors import DigestMismatch, EvidenceError, RollbackRefused, UsageError
from mlsecops.signing import Signer


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("ed25519")


def test_events_of_many_threads_keep_their_number(tmp_path: Path, signer: Signer) -> None:
    log = DecisionLog(tmp_path / "log", signer=signer)

    def append(thread: int) -> None:
        for number in range(50):
            log.append({"thread": thread, "number": number})

    threads = [threading.Thread(target=append, args=(each,)) for each in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    log.flush()
    events = list(log.events())
    for thread in range(4):
        assert [e["number"] for e in events if e["thread"] == thread] == list(range(50))
    log.close()
    log.close()
    with pytest.raises(UsageError, match="open log"):
        log.append({})


def test_a_forked_process_takes_no_decision_into_the_log_of_its_parent(
    tmp_path: Path, signer: Signer
) -> None:
    """Nobody would write it there: an event that is taken would be lost."""
    log = DecisionLog(tmp_path / "log", signer=signer)
    log.append({"number": 0})
    child = os.fork()
    if child == 0:
        try:
            log.append({"number": 1})
        except EvidenceError as error:
            os._exit(7 if "before a fork" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    log.close()
    assert [each["number"] for each in log.events()] == [0]


def test_a_log_goes_on_where_it_ended(tmp_path: Path, signer: Signer) -> None:
    for number in range(3):
        with DecisionLog(tmp_path / "log", signer=signer) as log:
            log.append({"number": number})
    assert [each["number"] for each in log.events()] == [0, 1, 2]
    pinned = log.verify()
    with DecisionLog(tmp_path / "log", signer=signer) as log:
        log.append({"number": 3})
    assert log.verify(pinned).size == 4


def test_while_nothing_can_be_written_only_so_many_events_wait(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.access.decision_log._RETRY", 0.01)
    log = DecisionLog(tmp_path / "log", signer=signer, delay=0.01, capacity=5)
    working: Any = log._log.append
    log._log.append = lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))  # type: ignore[method-assign]
    for number in range(5):
        log.append({"number": number})
    with pytest.raises(EvidenceError, match="disk full"):
        log.flush(timeout=0.2)
    with pytest.raises(EvidenceError, match="5 events wait"):
        log.append({"number": 5})
    log._log.append = working  # type: ignore[method-assign]
    log.flush()
    assert len(list(log.events())) == 5
    log.close()


def test_an_edited_or_shortened_log_is_noticed(tmp_path: Path, signer: Signer) -> None:
    with DecisionLog(tmp_path / "log", signer=signer) as log:
        log.append({"subject": "mallory"})
    older = log.verify()
    with DecisionLog(tmp_path / "log", signer=signer) as log:
        log.append({"subject": "mallory"})
    pinned = log.verify(older)
    bundles = sorted((tmp_path / "log" / "log" / "tile" / "entries").rglob("*"))
    for place in bundles:
        if place.is_file():
            place.chmod(0o600)
            place.write_bytes(place.read_bytes().replace(b"mallory", b"a-saint"))
    with pytest.raises(DigestMismatch):
        DecisionLog(tmp_path / "log", keys=[signer.public_key]).verify()
    with DecisionLog(tmp_path / "other", signer=signer, origin=pinned.origin) as short:
        short.append({"subject": "ann"})
    with pytest.raises(RollbackRefused):
        short.verify(pinned)


@pytest.mark.parametrize("event", [{"a": float("nan")}, {"a": object()}, {"a": "x" * 70_000}])
def test_an_event_that_is_none_is_refused(
    tmp_path: Path, signer: Signer, event: dict[str, Any]
) -> None:
    with DecisionLog(tmp_path / "log", signer=signer) as log, pytest.raises(UsageError):
        log.append(event)


def test_a_forked_process_writes_to_no_log_of_its_parent(tmp_path: Path, signer: Signer) -> None:
    log = DecisionLog(tmp_path / "log", signer=signer)
    log.append({"number": 1})
    child = os.fork()
    if child == 0:
        try:
            log.append({"number": 2})
        except EvidenceError as error:
            os._exit(0 if "before a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.close()
    assert [each["number"] for each in log.events()] == [1]


@pytest.mark.parametrize("call", ["events", "verify"])
def test_a_store_that_fails_is_named(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with DecisionLog(tmp_path / "log", signer=signer) as log:
        log.append({"number": 1})

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for name in ("tail", "verify"):
        monkeypatch.setattr(log._log, name, failing)
    with pytest.raises(EvidenceError, match="Input/output error"):
        list(log.events()) if call == "events" else log.verify()
