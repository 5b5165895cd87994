"""One suite for every object store."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlsecops.audit.objects import UNCHANGED, FolderStore, ObjectStore, open_store
from mlsecops.errors import UsageError
from tests.buckets import s3_bucket
from tests.google_xml import google_bucket

MOST = 1 << 20


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("objects"):
        yield "s3://objects"


@pytest.fixture(scope="module")
def google() -> Iterator[dict[str, Any]]:
    with google_bucket() as options:
        yield options


@pytest.fixture(params=["folder", "memory", "s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    name = tmp_path.name
    if request.param == "gs":
        return open_store(f"gs://objects/{name}", options=request.getfixturevalue("google"))
    if request.param == "s3":
        return open_store(f"{request.getfixturevalue('bucket')}/{name}")
    return open_store(tmp_path / "objects" if request.param == "folder" else f"memory://{name}")


def test_an_object_is_put_once(store: ObjectStore) -> None:
    assert store.get("a/b", most=MOST) is None
    tag = store.put_if_absent("a/b", b"one")
    assert tag is not None
    assert store.put_if_absent("a/b", b"two") is None
    found = store.get("a/b", most=MOST)
    assert found is not None
    assert (found.data, found.tag) == (b"one", tag)


def test_an_object_is_replaced_only_if_it_is_unchanged(store: ObjectStore) -> None:
    assert store.put_if_unchanged("a", b"two", "tag") is None
    first = store.put_if_absent("a", b"one")
    assert first is not None
    second = store.put_if_unchanged("a", b"two", first)
    assert second not in {None, first}
    assert store.put_if_unchanged("a", b"three", first) is None
    assert store.get("a", most=MOST).data == b"two"  # type: ignore[union-attr] # it is there


def test_what_is_unchanged_is_not_read_again(store: ObjectStore) -> None:
    assert store.get_if_changed("a", "tag", most=MOST) is None
    tag = store.put_if_absent("a", b"one")
    assert tag is not None
    assert store.get_if_changed("a", tag, most=MOST) is UNCHANGED
    store.put_if_unchanged("a", b"two", tag)
    assert store.get_if_changed("a", tag, most=MOST).data == b"two"  # type: ignore[union-attr] # it is there


def test_keys_are_listed_by_prefix(store: ObjectStore) -> None:
    for key in ("a/1", "a/2/3", "b"):
        store.put_if_absent(key, b"")
    assert sorted(store.keys("")) == ["a/1", "a/2/3", "b"]
    assert sorted(store.keys("a/")) == ["a/1", "a/2/3"]


def test_files_are_uploaded_and_streamed(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    data = bytes(range(256)) * 40_000  # more than one part
    for content in (data, b"replaced"):
        source.write_bytes(content)
        store.upload("deep/key", source)
        assert b"".join(store.stream("deep/key")) == content
    with pytest.raises(FileNotFoundError):
        list(store.stream("absent"))


def test_a_large_object_is_not_read(store: ObjectStore) -> None:
    store.put_if_absent("a", b"x" * 100)
    with pytest.raises(OSError, match="at most 99"):
        store.get("a", most=99)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\0"])
def test_no_key_leaves_the_location(store: ObjectStore, key: str) -> None:
    for put in (
        lambda: store.put_if_absent(key, b""),
        lambda: store.put_if_unchanged(key, b"", "tag"),
    ):
        with pytest.raises(UsageError, match="key"):
            put()


def test_one_of_many_writers_wins_each_round(store: ObjectStore) -> None:
    tag = store.put_if_absent("count", b"0")
    wins: list[int] = []

    def add() -> None:
        while len(wins) < 12:
            known = store.get("count", most=MOST)
            assert known is not None
            number = int(known.data) + 1
            if store.put_if_unchanged("count", b"%d" % number, known.tag) is not None:
                wins.append(number)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tag is not None
    assert sorted(wins) == list(range(1, len(wins) + 1))


def _add(root: Path, times: int) -> None:
    store = FolderStore(root)
    while times:
        known = store.get("count", most=MOST)
        assert known is not None
        if store.put_if_unchanged("count", b"%d" % (int(known.data) + 1), known.tag) is not None:
            times -= 1


def test_many_processes_write_one_folder(tmp_path: Path) -> None:
    FolderStore(tmp_path).put_if_absent("count", b"0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(tmp_path, 5)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (tmp_path / "count").read_bytes() == b"15"


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "a").symlink_to("../secret")
    with pytest.raises(OSError, match="symbolic"):
        FolderStore(tmp_path / "objects").get("a", most=MOST)


@pytest.mark.parametrize("link", ["a", "a/b"])
def test_a_linked_folder_leads_nowhere(tmp_path: Path, link: str) -> None:
    """Who may write the registry's folder must not let its operator write or read elsewhere."""
    root, outside = tmp_path / "objects", tmp_path / "outside" / "b"
    outside.mkdir(parents=True)
    (outside / "key").write_bytes(b"secret")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside if "/" in link else outside.parent)
    store, source = FolderStore(root), tmp_path / "source"
    source.write_bytes(b"x")
    tag = hashlib.sha256(b"secret").hexdigest()
    for call in (
        lambda: store.get("a/b/key", most=MOST),
        lambda: store.put_if_absent("a/b/new", b"x"),
        lambda: store.put_if_unchanged("a/b/key", b"x", tag),
        lambda: store.upload("a/b/new", source),
        lambda: [*store.stream("a/b/key")],
    ):
        with pytest.raises(OSError, match="symbolic link"):
            call()
    assert [each.read_bytes() for each in outside.iterdir()] == [b"secret"]
    assert [*store.keys("")] == []


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    tag = store.put_if_absent("a", b"one")
    assert tag is not None
    (store.root / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        store.put_if_unchanged("a", b"two", tag)
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_is_never_released_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.audit.objects.folder._PATIENCE", 0.05)
    store = FolderStore(tmp_path)
    tag = store.put_if_absent("a", b"one")
    assert tag is not None
    with (tmp_path / ".lock").open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="kept the lock"):
            store.put_if_unchanged("a", b"two", tag)
    assert store.put_if_unchanged("a", b"two", tag) is not None


def test_only_regular_files_in_a_folder_are_objects(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        FolderStore(tmp_path).get("pipe", most=MOST)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        FolderStore(tmp_path / "file").get("a", most=MOST)


@pytest.mark.parametrize(
    ("status", "error"), [(403, PermissionError), (500, OSError), (400, OSError)]
)
def test_what_a_bucket_answers_is_an_os_error(status: int, error: type[OSError]) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_store(
            "s3://refusing/x",
            options={
                "endpoint": f"http://127.0.0.1:{server.server_port}",
                "skip_signature": True,
                "retry_config": {"max_retries": 0},
            },
        )
        with pytest.raises(error, match="s3://refusing/x/a"):
            store.get("a", most=MOST)
        server.shutdown()


def test_an_interrupt_while_a_bucket_is_opened_is_no_wrong_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("obstore.store.from_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_store("s3://bucket/x")


@pytest.mark.parametrize(
    "location",
    ["ftp://host/x", "s3://", "s3://key:secret@bucket/x", "file://host/x", 7, "s3://b?x"],
)
def test_a_location_that_names_no_store_is_wrong_use(location: str) -> None:
    with pytest.raises(UsageError, match="location"):
        open_store(location)


def test_file_urls_name_folders(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/a%20b")
    assert isinstance(store, FolderStore)
    assert store.root == tmp_path / "a b"


def test_a_wrong_option_of_a_bucket_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="storage_options"):
        open_store("s3://bucket/x", options={"no_such_option": "1"})


def test_a_request_bears_its_condition_and_the_checksum_that_object_lock_asks_for() -> None:
    seen: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("ETag", '"tag"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint": f"http://127.0.0.1:{server.server_port}", "skip_signature": True}
        store = open_store("s3://locked/x", options=options)
        assert store.put_if_absent("a", b"data") == '"tag"'
        assert store.put_if_unchanged("a", b"more", '"tag"') == '"tag"'
        server.shutdown()
    sums = [base64.b64encode(hashlib.sha256(data).digest()).decode() for data in (b"data", b"more")]
    assert [each["x-amz-checksum-sha256"] for each in seen] == sums
    assert (seen[0]["if-none-match"], seen[1]["if-match"]) == ("*", '"tag"')


def test_a_request_to_azure_bears_its_condition() -> None:
    seen: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(201)
            self.send_header("ETag", '"0x8D"')
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {
            "account_name": "account",
            "account_key": base64.b64encode(bytes(32)).decode(),
            "endpoint": f"http://127.0.0.1:{server.server_port}",
            "client_options": {"allow_http": True},
        }
        store = open_store("az://models/x", options=options)
        assert store.put_if_absent("a", b"data") == '"0x8D"'
        assert store.put_if_unchanged("a", b"more", '"0x8D"') == '"0x8D"'
        server.shutdown()
    assert (seen[0]["if-none-match"], seen[1]["if-match"]) == ("*", '"0x8D"')


def test_a_bucket_that_is_not_there_is_an_os_error(bucket: str) -> None:
    with pytest.raises(OSError, match="absent-bucket"):
        open_store(bucket.replace("objects", "absent-bucket")).put_if_absent("a", b"")


@pytest.mark.parametrize(("journal", "synced"), [("ordered", ["b"]), ("other", ["a", "a", "b"])])
def test_names_are_synced_unless_a_later_sync_makes_them_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str, synced: list[str]
) -> None:
    folders: list[str] = []
    monkeypatch.setattr(
        "mlsecops.audit.objects.folder.sync_folder", lambda folder: folders.append(folder.name)
    )
    store = FolderStore(tmp_path)
    store.__dict__["_ordered"] = journal == "ordered"
    tag = store.put_if_absent("a/1", b"one", lasting=False)
    assert tag is not None
    store.put_if_unchanged("a/1", b"two", tag, lasting=False)
    store.put_if_absent("b/1", b"three")
    assert folders == synced
