"""Readiness of a served model, and waiting for one that is being downloaded."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    SignatureMissing,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.readiness import Readiness, ReadinessState, await_verified
from mlsecops.signing import Signer, TrustPolicy, Verified, sign, verify

SIGNER = Signer.generate("p256")
POLICY = TrustPolicy(keys=[SIGNER.public_key])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    (place / "w.bin").write_bytes(b"weights")
    sign(place, SIGNER)
    return place


def checking(model: Path) -> Callable[[], Verified]:
    return lambda: verify(model, policy=POLICY)


def ask(port: int, path: str = "/readyz") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_model_is_ready_only_while_its_latest_check_holds(model: Path, tmp_path: Path) -> None:
    file, said = tmp_path / "ready", list[ReadinessState]()
    file.write_text("left by a process that was killed")
    readiness = Readiness(checking(model), interval=60, ready_file=file, notify=said.append)
    with readiness.serving("127.0.0.1", 0) as port:
        assert ask(port) == (503, {"ready": False, "digest": "", "reason": "NotChecked"})
        digest = str(readiness.check().digest)
        assert ask(port) == (200, {"ready": True, "digest": digest, "reason": ""})
        assert file.read_text() == f"{digest}\n"
        readiness.check()
        (model / "w.bin").write_bytes(b"changed")
        readiness.check()
        assert ask(port) == (503, {"ready": False, "digest": "", "reason": "DigestMismatch"})
        assert not file.exists()
        (model / "w.bin").write_bytes(b"weights")
        readiness.check()
        assert ask(port)[0] == 200
        assert ask(port, "/etc/passwd") == (404, {})
    assert [state.reason for state in said] == ["", "DigestMismatch", ""]
    assert readiness.state.checks == 4


def test_an_error_of_the_check_itself_is_not_readiness(tmp_path: Path) -> None:
    def fail() -> None:
        raise MemoryError

    readiness = Readiness(fail, interval=1, ready_file=tmp_path / "ready")
    (tmp_path / "ready").write_text("")
    assert readiness.check().reason == "MemoryError"
    assert not (tmp_path / "ready").exists()


def test_a_stopped_watch_leaves_no_readiness(model: Path, tmp_path: Path) -> None:
    file, stop = tmp_path / "ready", threading.Event()
    readiness = Readiness(
        checking(model), interval=60, ready_file=file, notify=lambda _: stop.set()
    )
    readiness.run(stop)
    assert (readiness.state.ready, readiness.state.reason) == (False, "Stopped")
    assert not file.exists()


@pytest.fixture
def watching(model: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    (tmp_path / "trust.toml").write_text('[[keys]]\npath = "key.pem"\n')
    words = [
        "watch", model, "--policy", tmp_path / "trust.toml", "--interval", "0.05",
        "--ready-file", tmp_path / "ready", "--format", "json",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mlsecops", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_command_sees_changes_and_revocations_and_ends_on_a_signal(
    watching: subprocess.Popen[str], model: Path, tmp_path: Path
) -> None:
    assert watching.stdout is not None

    def state() -> Any:
        return json.loads(watching.stdout.readline())["reason"]  # type: ignore[union-attr]

    assert state() == ""
    assert (tmp_path / "ready").exists()
    (model / "w.bin").write_bytes(b"changed")
    assert state() == "DigestMismatch"
    (model / "w.bin").write_bytes(b"weights")
    assert state() == ""
    fingerprint = SIGNER.public_key.fingerprint
    policy = f'revoked = ["{fingerprint}"]\n[[keys]]\npath = "key.pem"\n'
    (tmp_path / "new.toml").write_text(policy)
    (tmp_path / "new.toml").replace(tmp_path / "trust.toml")
    assert state() == "Revoked"
    assert not (tmp_path / "ready").exists()
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(timeout=30) == 0


def test_a_download_in_progress_is_waited_for(model: Path, tmp_path: Path) -> None:
    place, steps = tmp_path / "volume", list[float]()
    parts = iter(
        [
            place.mkdir,
            lambda: (place / "w.bin").write_bytes(b"wei"),
            lambda: (place / "model.sig").write_bytes((model / "model.sig").read_bytes()[:50]),
            lambda: shutil.copy(model / "model.sig", place),
            lambda: (place / "w.bin").write_bytes(b"weights"),
        ]
    )

    def sleep(seconds: float) -> None:
        steps.append(seconds)
        next(parts)()

    found = await_verified(
        lambda: verify(place, policy=POLICY), seconds=60, clock=lambda: sum(steps), sleep=sleep
    )
    assert found.digest == verify(model, policy=POLICY).digest
    assert steps == [0.5, 1.0, 2.0, 4.0, 5.0]


def test_what_no_download_repairs_is_refused_at_once(model: Path) -> None:
    other = TrustPolicy(keys=[Signer.generate("p256").public_key])

    def never(_: float) -> None:
        raise AssertionError

    with pytest.raises(UntrustedSigner):
        await_verified(lambda: verify(model, policy=other), seconds=60, sleep=never)


def test_the_latest_error_is_raised_when_the_time_is_over(model: Path) -> None:
    (model / "w.bin").write_bytes(b"half")
    steps = list[float]()
    with pytest.raises(DigestMismatch):
        await_verified(checking(model), seconds=3, clock=lambda: sum(steps), sleep=steps.append)
    assert sum(steps) == 3


def test_the_command_waits(model: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    place = tmp_path / "late"
    words = ["verify", place, "--key", tmp_path / "key.pem", "--wait", "60"]
    process = subprocess.Popen([sys.executable, "-m", "mlsecops", *map(str, words)])
    time.sleep(0.3)
    shutil.copytree(model, tmp_path / "half")
    os.rename(tmp_path / "half", place)  # noqa: PTH104 - atomic, as a download should end
    assert process.wait(timeout=60) == 0


def test_wrong_use_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="interval"):
        Readiness(checking(model), interval=0)
    readiness = Readiness(checking(model), interval=1)
    with (
        readiness.serving("127.0.0.1", 0) as port,
        pytest.raises(UsageError, match="cannot listen"),
        readiness.serving("127.0.0.1", port),
    ):
        pass
    assert issubclass(SignatureMissing, MLSecOpsError)
