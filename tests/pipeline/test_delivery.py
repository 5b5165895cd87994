"""Deliveries into folders that others write into, that are locked, and that are cut short."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from mlsecops import SecurePipeline, Signer, TrustPolicy, sign
from mlsecops.errors import UsageError
from mlsecops.pipeline import delivery
from mlsecops.pipeline.delivery import RECORD, write_delivery
from mlsecops.signing import verify

OLD = {"index.html": b"old", "robustness.html": b"a page of an earlier run", "signing/a.pem": b"a"}
NEW = {"index.html": b"new", "signing/b.pem": b"b"}


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file() and each.name != RECORD
    }


@pytest.mark.parametrize("moves", range(6))
def test_the_next_delivery_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    write_delivery(tmp_path, OLD)
    real, count = Path.replace, 0

    def killed(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > moves:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(delivery.shutil, "rmtree", lambda *_, **__: None)  # it had no time to
        if moves < 4:
            with pytest.raises(KeyboardInterrupt):
                write_delivery(tmp_path, NEW)
    write_delivery(tmp_path, NEW)
    assert found(tmp_path) == NEW
    write_delivery(tmp_path, OLD)
    assert found(tmp_path) == OLD


def test_a_file_that_somebody_changed_survives_a_killed_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_delivery(tmp_path, OLD)
    (tmp_path / "robustness.html").write_text("with notes of an auditor")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            write_delivery(tmp_path, NEW)
    write_delivery(tmp_path, NEW)
    assert (tmp_path / "robustness.html").read_text() == "with notes of an auditor"


def write_often(folder: Path, files: dict[str, bytes]) -> None:
    for _ in range(20):
        write_delivery(folder, files)


def test_deliveries_into_one_folder_wait_for_each_other(tmp_path: Path) -> None:
    started = multiprocessing.get_context("fork")
    both = [started.Process(target=write_often, args=(tmp_path, each)) for each in (OLD, NEW)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert found(tmp_path) in (OLD, NEW)


def test_a_delivery_that_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(delivery, "_PATIENCE", 0.0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process has kept the lock"):
            write_delivery(tmp_path, NEW)
    finally:
        os.close(descriptor)
    assert found(tmp_path) == {}
    write_delivery(tmp_path, NEW)


def test_a_folder_that_locks_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(delivery, "lock_whole", refuse)
    write_delivery(tmp_path, NEW)
    assert found(tmp_path) == NEW


def test_nothing_is_written_through_a_link_out_of_the_folder(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    write_delivery(out, {"index.html": b"old"})
    elsewhere.mkdir()
    (out / "signing").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="signing: expected a folder of the delivery, got a link"):
        write_delivery(out, NEW)
    assert list(elsewhere.iterdir()) == []
    assert (out / "index.html").read_bytes() == b"old"


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    out, secret = tmp_path / "out", tmp_path / "secret"
    out.mkdir()
    secret.write_text("kept")
    (out / "index.html").symlink_to(secret)
    write_delivery(out, NEW)
    assert secret.read_text() == "kept"
    assert found(out) == NEW


def test_a_folder_in_the_way_is_named_before_anything_is_replaced(tmp_path: Path) -> None:
    write_delivery(tmp_path, {"architecture.html": b"old"})
    (tmp_path / "index.html").mkdir()
    with pytest.raises(UsageError, match=r"index.html: expected a file of the delivery"):
        write_delivery(tmp_path, {**NEW, "architecture.html": b"new"})
    assert (tmp_path / "architecture.html").read_bytes() == b"old"


def test_only_stages_of_killed_deliveries_are_cleared(tmp_path: Path) -> None:
    for name in (".deliver-abcd1234", ".deliver-notes-of-mine"):
        (tmp_path / name).mkdir()
    (tmp_path / ".deliver-linked01").symlink_to(tmp_path / ".deliver-notes-of-mine")
    write_delivery(tmp_path, NEW)
    assert not (tmp_path / ".deliver-abcd1234").exists()
    assert (tmp_path / ".deliver-notes-of-mine").is_dir()


@pytest.mark.parametrize("out", ["model", "model/deliverables", "link/out"])
def test_a_delivery_does_not_break_the_signature_of_its_model(tmp_path: Path, out: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "w.bin").write_bytes(b"w")
    (tmp_path / "link").symlink_to(model)
    signer = Signer.generate("p256")
    sign(model, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    pipeline = SecurePipeline(name="tiny", model=model, policy=policy)
    with pytest.raises(UsageError, match="expected a folder outside"):
        pipeline.deliver(tmp_path / out)
    assert verify(model, policy=policy).digest
    pipeline.deliver(tmp_path)  # the folder around it is no part of the model
    assert verify(model, policy=policy).digest
