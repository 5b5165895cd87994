# ruff: noqa: ANN001 - the fixtures' classes live in conftest
"""Histories in a folder: workers of one service judge a client together."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.extraction import folder_store
from mlsecops.monitoring import ExtractionDetector, FolderHistoryStore, LocalHistoryStore
from tests.attackers.extraction import uniform_thief
from tests.extraction.queries import SALT, readings
from tests.extraction.test_stores import sharing

COUNT = """
import sys
from mlsecops.monitoring import ExtractionDetector, FolderHistoryStore, LocalHistoryStore
store = FolderHistoryStore(sys.argv[1], salt=bytes(16))
def change(history):
    history.queries += 1
for _ in range(100):
    store.use("ann", 0.0, change)
"""


def queries(store: FolderHistoryStore, client: str | None) -> int:
    def change(history) -> int:
        history.queries += 1
        return int(history.queries)

    return store.use(client, 0.0, change)


def free(file: Path) -> bool:
    """Whether no process holds a file."""
    with file.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_thief_who_spreads_over_workers_is_found_as_if_there_were_one(
    digits, detector, tmp_path: Path
) -> None:
    thief = uniform_thief(11, queries=12)
    alone = readings(detector, digits, thief, "alone")[0].value
    workers = [sharing(detector, FolderHistoryStore(tmp_path, salt=SALT)) for _ in range(3)]
    for number, query in enumerate(thief):
        last = readings(workers[number % 3], digits, query[None], "ann@example.org")[0]
    assert last.value == pytest.approx(alone)
    assert alone > 1
    (file,) = tmp_path.iterdir()
    assert b"ann" not in file.name.encode() + file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_processes_that_write_at_once_lose_no_query(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": "."}
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [each.wait(30) for each in running] == [0, 0, 0]
    assert queries(FolderHistoryStore(tmp_path, salt=bytes(16)), "ann") == 301


def test_silent_damaged_and_surplus_clients_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderHistoryStore(tmp_path, salt=SALT, ttl=60, capacity=4)
    assert [queries(store, None), queries(store, None), queries(store, "")] == [1, 2, 1]
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert queries(store, None) == 1
    for path in tmp_path.iterdir():
        path.write_bytes(b"damage")
    assert queries(store, None) == 1
    assert store.discarded == 1
    for client in range(40):
        queries(store, str(client))
    assert len(list(tmp_path.iterdir())) <= 8
    assert queries(store, "39") == 2
    monkeypatch.setattr(folder_store.os, "open", lambda *_: (_ for _ in ()).throw(OSError()))
    assert [queries(store, "39"), queries(store, "39"), store.unreachable] == [1, 2, 2]


@pytest.mark.parametrize(
    "options",
    [{"salt": b"short"}, {"salt": SALT, "ttl": 0}, {"salt": SALT, "capacity": 0}],
)
def test_store_that_could_not_hold_evidence_is_refused(tmp_path: Path, options) -> None:
    with pytest.raises(UsageError):
        FolderHistoryStore(tmp_path, **options)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make"):
        FolderHistoryStore(tmp_path / "file", salt=SALT)


def test_system_without_file_locks_shares_no_histories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_store, "fcntl", None)
    with pytest.raises(UsageError, match="expected file locks"):
        FolderHistoryStore(tmp_path, salt=SALT)


def test_a_client_whose_file_cannot_be_locked_is_judged_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderHistoryStore(tmp_path, salt=SALT)
    tries = list[int]()

    def fails(descriptor: int, *_: object, **__: object) -> None:
        tries.append(descriptor)
        if len(tries) > 1:
            raise KeyboardInterrupt  # it must not try for ever
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(folder_store, "lock_whole", fails)
    assert queries(store, "ann") == 1
    assert (store.unreachable, len(tries)) == (1, 1)


def test_detectors_of_one_service_share_their_histories_unasked(
    digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    rng = np.random.default_rng(3)
    rows = [digits.known[rng.choice(len(digits.known), 60)] for _ in range(12)]
    clients = [(each, digits.predict(each)) for each in rows]

    def made(benign=clients, **options: Any) -> ExtractionDetector:
        return ExtractionDetector.calibrate(
            digits.baseline, benign, false_positive_rate=0.01, **options
        )

    (one, two), other = (made() for _ in range(2)), made(clients[1:])
    salt = (tmp_path / "mlsecops-extraction.salt").read_bytes()
    alone = made(histories=LocalHistoryStore(), salt=salt)
    thief = uniform_thief(11, queries=48)
    expected = [readings(alone, digits, thief[i : i + 8], "t")[0].value for i in range(0, 48, 8)]
    found = [
        readings((one, two)[i // 8 % 2], digits, thief[i : i + 8], "t")[0].value
        for i in range(0, 48, 8)
    ]
    assert found == pytest.approx(expected)
    assert found[-1] > 1
    assert {client for client, _ in two._histories} == {"t"}
    # Another calibration measures other evidence, and begins anew.
    assert readings(other, digits, thief[:8], "t")[0].value < found[-1]
    assert len(list(tmp_path.glob("mlsecops-clients-*"))) == 2


def test_client_is_judged_though_the_folder_cannot_be_tidied_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderHistoryStore(tmp_path, salt=SALT, capacity=1)

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(folder_store.os, "scandir", fails)
        assert queries(store, "ann") == 1
    assert store.unreachable == 1
    (file,) = tmp_path.iterdir()
    assert free(file)  # or every process would wait for it for ever
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))  # as on a full disk
    try:
        assert queries(store, "bob") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert store.unreachable == 2
    assert [queries(store, "bob"), queries(store, "bob")] == [1, 2]


def test_worker_that_was_stopped_with_a_history_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_store, "_PATIENCE", 0.05)
    store = FolderHistoryStore(tmp_path, salt=SALT)
    assert queries(store, "ann") == 1
    (file,) = tmp_path.iterdir()
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert queries(store, "ann") == 1
    assert store.unreachable == 1
    assert queries(store, "ann") == 2


def test_file_that_another_process_removes_meanwhile_is_no_failure(tmp_path: Path) -> None:
    store = FolderHistoryStore(tmp_path, salt=SALT, capacity=1)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # its stat fails as that of a removed one
    assert queries(store, "ann") == 1
    assert store.unreachable == 0


def test_forked_child_holds_no_history(tmp_path: Path) -> None:
    children: list[int] = []

    def change(_: Any) -> None:
        children.append(os.fork())
        if not children[0]:
            signal.pause()

    FolderHistoryStore(tmp_path, salt=SALT).use("ann", 0.0, change)
    try:
        (file,) = tmp_path.iterdir()
        assert free(file)
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
