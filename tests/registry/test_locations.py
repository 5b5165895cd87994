"""One suite for registries in a folder, in memory and in a bucket."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlsecops.audit.objects import FolderStore, ObjectStore, open_store
from mlsecops.audit.tlog import TileLog
from mlsecops.errors import (
    DigestMismatch,
    Isolated,
    MLSecOpsError,
    RegistryError,
    RollbackRefused,
    SignatureError,
    UsageError,
)
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy
from tests.audit.tlog import c2sp
from tests.buckets import s3_bucket
from tests.google_xml import google_bucket
from tests.registry.stores import counted, objects

Model = Callable[[bytes], Path]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("models"):
        yield "s3://models"


@pytest.fixture(params=["folder", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/prefix-{next(NUMBERS)}"
    return str(tmp_path / "reg") if request.param == "folder" else f"memory://{next(NUMBERS)}"


@pytest.fixture
def serving(location: str, signer: Signer, policy: TrustPolicy, model: Model) -> Registry:
    """Two versions, of which the second serves."""
    registry = Registry(location, signer=signer, policy=policy)
    for weights in (b"one", b"two"):
        registry.publish("fraud", model(weights))
    registry.promote("fraud", 1, "approved")
    registry.promote("fraud", 2, "serving")
    return registry


def replace(store: ObjectStore, key: str, data: bytes) -> None:
    """Write over an object, as somebody can who may write the location."""
    stored = store.get(key, most=1 << 24)
    assert stored is not None
    assert store.put_if_unchanged(key, data, stored.tag) is not None


def test_a_version_is_published_promoted_resolved_isolated_and_rolled_back(
    serving: Registry, location: str, policy: TrustPolicy, tmp_path: Path
) -> None:
    reader = Registry(location, policy=policy, cache=tmp_path / "other")
    found = reader.resolve("fraud", "serving")
    assert found.path is not None
    assert (found.path / "weights.bin").read_bytes() == b"two"
    assert found.path.is_relative_to(tmp_path / "other")
    digest = serving.quarantine("fraud", "poisoned")
    assert reader.isolated(digest) == "poisoned"
    with pytest.raises(Isolated, match="poisoned"):
        reader.resolve("fraud", "serving")
    assert serving.rollback("fraud").version == 1
    assert reader.resolve("fraud", "serving").version == 1
    serving.raise_floor("fraud", 1)
    kinds = [event.kind for event in reader.history("fraud")]
    assert kinds[-3:] == ["quarantined", "quarantine-extended", "rolled-back"]
    assert reader.verify_log() == serving.verify_log()


def test_a_reader_writes_nothing_there(
    serving: Registry, location: str, policy: TrustPolicy, tmp_path: Path
) -> None:
    before = objects(location)
    with counted() as opened:
        reader = Registry(
            location, policy=policy, cache=tmp_path / "own", pinned=tmp_path / "pin.txt"
        )
        reader.resolve("fraud", "serving")
        reader.verify_log(str(serving.verify_log()))
        reader.versions()
        reader.isolated(Digest.of(b"any"))
        with pytest.raises(UsageError, match="signer"):
            reader.quarantine("fraud", "reason")
    assert opened[0].writes == []
    assert objects(location) == before


def test_the_layout_is_one_for_all(serving: Registry, location: str) -> None:
    names = set(objects(location))
    size = serving.verify_log().size
    assert {"head", "log/checkpoint", f"log/tile/0/000.p/{size}"} <= names
    assert f"log/tile/entries/000.p/{size}" in names
    assert {name.partition("/")[0] for name in names} == {"head", "log", "blobs"}


def test_any_client_of_the_specification_verifies_the_log(serving: Registry, location: str) -> None:
    store = open_store(location)

    def read(name: str) -> bytes | None:
        found = store.get(f"log/{name}", most=1 << 24)
        return None if found is None else found.data

    [named] = serving.log_vkeys()
    assert len(c2sp.verified_entries(read, named)) == serving.verify_log().size


def test_what_was_changed_is_refused(
    serving: Registry, location: str, policy: TrustPolicy, tmp_path: Path
) -> None:
    store = open_store(location)
    size = serving.verify_log().size
    for key in ("log/checkpoint", f"log/tile/entries/000.p/{size}", f"log/tile/0/000.p/{size}"):
        honest = b"".join(store.stream(key))
        for forged in (honest[:-2], honest[:-1] + bytes([honest[-1] ^ 1]), b""):
            replace(store, key, forged)
            with pytest.raises((MLSecOpsError,)):
                Registry(location, policy=policy).verify_log()
            replace(store, key, honest)
    blob = next(key for key in store.keys("blobs/") if b"".join(store.stream(key)) == b"two")
    replace(store, blob, b"TWO")
    with pytest.raises(DigestMismatch):
        Registry(location, policy=policy, cache=tmp_path / "fresh").resolve("fraud", 2)


def test_an_entry_that_was_edited_changes_no_state(
    serving: Registry, location: str, policy: TrustPolicy
) -> None:
    """The forged entry is a good event; only the signed root says that it is another one."""
    digest = serving.quarantine("fraud", "poisoned")
    store, key = open_store(location), f"log/tile/entries/000.p/{serving.verify_log().size}"
    replace(store, key, b"".join(store.stream(key)).replace(b'"poisoned"', b'"harmless"'))
    fresh = Registry(location, policy=policy)
    assert "cannot be trusted" in str(fresh.isolated(digest))
    for call in (fresh.versions, lambda: fresh.resolve("fraud", 1), fresh.verify_log):
        with pytest.raises(DigestMismatch):
            call()


def test_a_restored_log_is_refused_by_a_pin_and_by_whoever_ran(
    serving: Registry, location: str, policy: TrustPolicy, tmp_path: Path
) -> None:
    store, pin = open_store(location), tmp_path / "pin.txt"
    reader = Registry(location, policy=policy)
    older = {key: b"".join(store.stream(key)) for key in ("head", "log/checkpoint")}
    digest = serving.quarantine("fraud", "poisoned")
    assert reader.isolated(digest) == "poisoned"
    pin.write_text(str(serving.verify_log()))
    for key, data in older.items():
        replace(store, key, data)
    assert "cut off" in str(reader.isolated(digest))
    with pytest.raises(RollbackRefused):
        Registry(location, policy=policy, pinned=pin).resolve("fraud", "serving")


def test_a_location_without_a_registry_is_refused(
    location: str, policy: TrustPolicy, signer: Signer
) -> None:
    with pytest.raises(RegistryError, match="found no log"):
        Registry(location, policy=policy)
    open_store(location).put_if_absent("data.csv", b"a,b")
    with pytest.raises(RegistryError, match="empty"):
        Registry(location, signer=signer, policy=policy)


def publishing(location: str, signer: Signer, policy: TrustPolicy, folders: list[Path]) -> None:
    registry = Registry(location, signer=signer, policy=policy)
    for folder in folders:
        registry.publish("fraud", folder)


def test_a_registry_that_another_process_begins_meanwhile_is_joined(
    signer: Signer, policy: TrustPolicy, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins and publishes after this process found no log, and before it lists the content."""
    place, exists, calls = f"memory://joined-{next(NUMBERS)}", TileLog.exists, []

    def late(log: TileLog) -> bool:
        found = exists(log)
        calls.append(found)
        if len(calls) == 1:
            Registry(place, signer=signer, policy=policy).publish("fraud", model(b"one"))
        return found

    monkeypatch.setattr(TileLog, "exists", late)
    joined = Registry(place, signer=signer, policy=policy)
    assert len(joined.versions()) == 1
    assert joined.verify_log().size == 2


def test_publishers_race_without_a_gap(
    location: str, signer: Signer, policy: TrustPolicy, model: Model
) -> None:
    work = [[model(bytes([each, number])) for number in range(3)] for each in range(4)]
    arguments = [(location, signer, policy, folders) for folders in work]
    workers: list[threading.Thread | multiprocessing.process.BaseProcess]
    if isinstance(open_store(location), FolderStore):
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=publishing, args=each) for each in arguments]
    else:
        workers = [threading.Thread(target=publishing, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    registry = Registry(location, policy=policy)
    assert [version.version for version in registry.versions("fraud")] == list(range(1, 13))
    assert len({version.digest for version in registry.versions("fraud")}) == 12
    assert registry.verify_log().size == 13


def test_a_registry_lies_in_a_bucket_of_google(
    signer: Signer, policy: TrustPolicy, model: Model, tmp_path: Path
) -> None:
    """Its conditions name generations, and no ETags."""
    with google_bucket() as options:
        writers = [
            Registry("gs://models/prod", signer=signer, policy=policy, storage_options=options)
            for _ in range(2)
        ]
        for writer, weights in zip(writers * 2, (b"one", b"two", b"three", b"four"), strict=True):
            version = writer.publish("fraud", model(weights)).version
        writers[0].promote("fraud", version, "serving")
        digest = writers[1].quarantine("fraud", "poisoned")
        assert writers[0].rollback("fraud").version == 3
        reader = Registry(
            "gs://models/prod", policy=policy, storage_options=options, cache=tmp_path / "own"
        )
        assert reader.resolve("fraud", "serving").version == 3
        assert reader.isolated(digest) == "poisoned"
        assert reader.verify_log() == writers[1].verify_log()
        assert [each.version for each in reader.versions("fraud")] == [1, 2, 3, 4]


def test_an_append_takes_four_requests(serving: Registry, location: str) -> None:
    with counted() as opened:
        registry = Registry(location, signer=serving.signer, policy=serving.policy)
        registry.quarantine(Digest.of(b"first"), "reason")
        opened[0].requests.clear()
        registry.quarantine(Digest.of(b"second"), "reason")
    writes = [key.removeprefix("log/").partition(".p/")[0] for _, key in opened[0].writes]
    assert writes[0] == "head"
    assert set(writes[1:-1]) == {"tile/entries/000", "tile/0/000"}
    assert writes[-1] == "checkpoint"
    assert len(writes) == 4


def test_a_registry_in_a_bucket_does_not_outlive_fork(
    bucket: str, signer: Signer, policy: TrustPolicy
) -> None:
    registry = Registry(f"{bucket}/forked", signer=signer, policy=policy)
    registry.versions()
    child = os.fork()
    if child == 0:
        refused = registry.isolated(Digest.of(b"any")) or ""
        os._exit("new process" not in refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "option", [{"endpoint": 7}, {"regoin": "x"}, {"client_options": "x"}, {"allow_http": True}]
)
def test_wrong_storage_options_are_wrong_use(
    policy: TrustPolicy, option: dict[str, object]
) -> None:
    with pytest.raises((UsageError, SignatureError), match="storage_options"):
        Registry("s3://models/x", policy=policy, storage_options=option)
