from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from mlsecops import errors
from mlsecops.provenance import hash_path
from mlsecops.provenance.files.hashing import AHEAD_BYTES, BATCH_FILES, hash_file
from tests.attackers.provenance import flip_byte


class Counting(ThreadPoolExecutor):
    """Counts the tasks it is given."""

    tasks = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.tasks += 1
        return super().submit(work, *args, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    for index in range(100):
        (root / f"{index:03}").write_bytes(bytes([index]) * 50)
    return root


def test_small_files_are_batched(folder: Path) -> None:
    with Counting(2) as pool:
        assert hash_path(folder, executor=pool) == hash_path(folder)
    assert pool.tasks == -(-100 // BATCH_FILES)


def test_a_dask_cluster_hashes_and_does_not_remember(folder: Path) -> None:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        manifest = hash_path(folder, executor=executor)
        assert manifest == hash_path(folder)
        flip_byte(folder / "042")
        assert manifest.diff(hash_path(folder, executor=executor)).changed == ("042",)


def test_dask_is_told_not_to_remember(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Cluster(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
            seen.append(options)
            return super().submit(work, *args)

    monkeypatch.setattr(Cluster, "__module__", "distributed.cfexecutor")
    with Cluster(1) as executor:
        hash_path(folder, executor=executor)
    assert seen
    assert all(options == {"pure": False} for options in seen)


def processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("fork"))


def test_a_pool_of_processes_hashes(folder: Path) -> None:
    with processes() as pool:
        assert hash_path(folder, executor=pool) == hash_path(folder)


def test_a_refusal_in_another_process_arrives_whole(folder: Path) -> None:
    from mlsecops.provenance.files.hashing import hash_pieces  # noqa: PLC0415 - only this test
    from mlsecops.provenance.files.pieces import Piece  # noqa: PLC0415 - only this test
    from mlsecops.provenance.files.tree import list_tree  # noqa: PLC0415 - only this test

    files = list(list_tree(folder).files.values())
    (folder / "050").unlink()
    (folder / "050").symlink_to("051")
    with processes() as pool, pytest.raises(errors.UnsafeContent, match="050") as caught:
        hash_pieces([Piece(each) for each in files], executor=pool)
    assert caught.value.rule == "not-a-regular-file"


@pytest.mark.parametrize("algorithm", ["sha256", "blake2b", "blake3"])
@pytest.mark.parametrize("extra", [0, 1, 12_345])
def test_a_big_file_is_read_ahead_and_has_the_same_digest(
    tmp_path: Path, algorithm: str, extra: int
) -> None:
    data = bytes(range(256)) * (AHEAD_BYTES // 256) + b"x" * extra
    path = tmp_path / "big"
    path.write_bytes(data)
    digest, size = hash_file(path, algorithm=algorithm)
    assert size == len(data)
    if algorithm == "blake3":
        import blake3  # noqa: PLC0415 - an extra

        assert digest.value == blake3.blake3(data).digest()
    else:
        assert digest.hex == hashlib.new(algorithm, data).hexdigest()


def test_a_file_that_shrinks_while_it_is_read_ahead_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (AHEAD_BYTES + 1))

    class Cutting:
        def __init__(self) -> None:
            self.inner = hashlib.sha256()

        def update(self, data: bytes) -> None:
            path.write_bytes(b"x")
            self.inner.update(data)

        def digest(self) -> bytes:
            return self.inner.digest()

    monkeypatch.setattr("mlsecops.provenance.files.hashing.new_hash", lambda *_, **__: Cutting())
    with pytest.raises(errors.ChangedDuringLoad, match="big"):
        hash_file(path)
