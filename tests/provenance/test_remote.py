from __future__ import annotations

import importlib
import io
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mlsecops import errors, hash_dataset
from mlsecops.provenance import hash_path
from mlsecops.provenance.files.remote import (
    CHUNK,
    RemoteFile,
    hash_remote,
    is_object,
    opened_object,
    read_object,
    write_object,
)
from mlsecops.signing.bundle import bundle_exists, read_bundle
from tests.buckets import s3_bucket

FILES = {"a.bin": b"one", "sub/b.bin": b"two" * 1_000_000, "sub/é ü": b"", "model.sig": b"{}"}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "m"


@pytest.fixture
def memory() -> Iterator[str]:
    top = f"memory://{uuid.uuid4().hex}/m"
    system = fsspec.filesystem("memory")
    for name, data in FILES.items():
        system.pipe(f"{top}/{name}", data)
    yield top
    system.rm(top, recursive=True)


def put(url: str, data: bytes) -> None:
    with fsspec.open(url, "wb") as stream:
        stream.write(data)


def test_a_prefix_has_the_manifest_of_the_same_folder(local: Path, memory: str) -> None:
    assert hash_path(memory) == hash_path(local)
    assert hash_path(memory, ignore=["sub"]) == hash_path(local, ignore=["sub"])
    assert hash_dataset(memory, name="d") == hash_dataset(local, name="d")


def test_an_object_has_the_manifest_of_the_same_file(local: Path, memory: str) -> None:
    assert hash_path(f"{memory}/sub/b.bin") == hash_path(local / "sub" / "b.bin")


def test_progress_and_an_executor_of_the_callers_are_heeded(memory: str) -> None:
    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(1) as pool:
        manifest = hash_path(
            memory, executor=pool, progress=lambda done, total: seen.append((done, total))
        )
    assert seen[-1] == (manifest.size, manifest.size)


def test_verification_names_the_object_that_changed(local: Path, memory: str) -> None:
    manifest = hash_path(local)
    manifest.verify(memory)
    put(f"{memory}/a.bin", b"two")
    with pytest.raises(errors.DigestMismatch, match=r"'a\.bin'"):
        manifest.verify(memory)


@pytest.mark.parametrize("new", [b"two", b"longer"], ids=["same size", "longer"])
def test_an_object_that_changes_while_it_is_read_is_refused(
    memory: str, new: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fsspec.filesystem("memory")
    real = type(system).open

    def tampering(*args: Any, **options: Any) -> Any:
        stream = real(*args, **options)
        if new == b"two":
            data = io.BytesIO(stream.read())
            monkeypatch.undo()
            put(f"{memory}/a.bin", new)
            return data
        monkeypatch.undo()
        put(f"{memory}/a.bin", new)
        return system.open(f"{memory}/a.bin")

    monkeypatch.setattr(type(system), "open", tampering)
    with pytest.raises(errors.ChangedDuringLoad, match=r"a\.bin"):
        hash_path(f"{memory}/a.bin")


def test_an_object_of_another_size_than_was_listed_is_refused(memory: str) -> None:
    with pytest.raises(errors.ChangedDuringLoad, match="expected 2 unchanging bytes, read 3"):
        hash_remote([RemoteFile(f"{memory}/a.bin", 2)], "sha256")


@pytest.mark.parametrize("key", ["a//b", "../up", "a/./b"])
def test_a_key_that_is_no_relative_path_is_refused(
    memory: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fsspec.filesystem("memory")
    top = memory.removeprefix("memory:/")
    hostile = {f"{top}/{key}": {"size": 1, "type": "file"}}
    with monkeypatch.context() as patch:
        patch.setattr(type(system), "find", lambda *_, **__: hostile)
        with pytest.raises(errors.UnsafeContent, match="no relative path"):
            hash_path(memory)


@pytest.mark.parametrize(
    "url", ["memory://nothing/here", "nosuchscheme://x/y", "file:///no/such/place"]
)
def test_a_url_where_nothing_is_is_the_callers_fault(url: str) -> None:
    with pytest.raises(errors.UsageError, match="cannot read"):
        hash_path(url)


def test_a_store_that_cannot_be_asked_is_no_store_without_a_signature(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an outage would read as unsigned, and signing again would drop a signature."""

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    url = f"{memory}/model.sig"
    assert bundle_exists(url)
    assert not bundle_exists(f"{memory}/none.sig")
    with monkeypatch.context() as outage:
        outage.setattr(type(fsspec.filesystem("memory")), "info", down)
        for ask in (bundle_exists, read_bundle, hash_path):
            with pytest.raises(errors.UsageError, match=r"cannot read .*no route"):
                ask(url)


def test_an_object_that_is_not_there_is_an_error_of_the_library_however_it_is_read() -> None:
    url = f"memory://{uuid.uuid4().hex}/none"

    def stream() -> None:
        with opened_object(url) as opened:
            opened.read()

    file = RemoteFile(url, 1)
    reads: tuple[Callable[[], object], ...] = (
        lambda: read_object(url, most=10), stream, lambda: hash_remote([file], "sha256"),
    )  # fmt: skip
    for read in reads:
        with pytest.raises(errors.UsageError, match=f"cannot read {url}: FileNotFoundError"):
            read()
    assert not is_object(url)


def test_no_more_of_an_object_is_read_than_asked_for(memory: str) -> None:
    """An object without end fills no memory; one over a request's size is read whole."""
    data = bytes(range(256)) * ((CHUNK + 1000) // 256)
    write_object(f"{memory}/large", data)
    assert len(data) > CHUNK
    for most in (0, 1, 1000, CHUNK, CHUNK + 1, len(data), len(data) + 1, 1 << 40):
        assert read_object(f"{memory}/large", most=most) == data[:most]


def test_a_stream_that_breaks_in_the_caller_s_hands_is_an_error_of_the_library(
    memory: str,
) -> None:
    with (
        pytest.raises(errors.UsageError, match=r"cannot read .*connection reset"),
        opened_object(f"{memory}/a.bin"),
    ):
        raise ConnectionResetError("connection reset")
    with pytest.raises(errors.UnsafeContent, match="mine"), opened_object(f"{memory}/a.bin"):
        raise errors.UnsafeContent("mine", rule="r", where="w")


def test_an_object_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(errors.UsageError, match=r"cannot write file://.*/file/object"):
        write_object(f"file://{tmp_path}/file/object", b"x")


def test_what_a_scheme_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "dropboxdrivefs"):
        monkeypatch.setitem(sys.modules, name, None)
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(known, "s3", raising=False)
    with pytest.raises(errors.MissingExtra, match="s3fs is not installed; install it with: pip"):
        hash_path("s3://bucket/model")
    with pytest.raises(errors.UsageError, match=r"cannot read dropbox://x: "):
        hash_path("dropbox://x")


def test_a_cache_and_shards_are_refused_for_a_url(memory: str, tmp_path: Path) -> None:
    for options in ({"cache": tmp_path / "c"}, {"shard_size": 8}):
        with pytest.raises(errors.UsageError, match="local files"):
            hash_path(memory, **options)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("models") as client:
        for name, data in FILES.items():
            client.put_object(Bucket="models", Key=f"m/{name}", Body=data)
        yield "s3://models"


@pytest.mark.filterwarnings("ignore:Your installed version of s3fs:UserWarning")
def test_a_bucket_has_the_manifest_of_the_same_folder(local: Path, bucket: str) -> None:
    assert hash_path(f"{bucket}/m") == hash_path(local)
    assert hash_path(f"{bucket}/m/a.bin") == hash_path(local / "a.bin")
    with pytest.raises(errors.UsageError, match="cannot read"):
        hash_path(f"{bucket}/none")


@pytest.mark.filterwarnings("ignore:Your installed version of s3fs:UserWarning")
def test_an_object_replaced_in_a_bucket_is_named(local: Path, bucket: str) -> None:
    import boto3  # noqa: PLC0415 - the fixture has required it

    manifest = hash_path(local)
    boto3.client("s3").put_object(Bucket="models", Key="m/a.bin", Body=b"eno")
    with pytest.raises(errors.DigestMismatch, match=r"changed 'a\.bin'"):
        manifest.verify(f"{bucket}/m")
