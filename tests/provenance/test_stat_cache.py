from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from mlsecops import errors
from mlsecops.provenance import Digest, StatCache, hash_path
from mlsecops.provenance.files.pieces import Span, stamp_of
from mlsecops.provenance.files.stat_cache import granularity
from tests.attackers.provenance import flip_byte_and_put_the_time_back

FILES = 80  # over the number from which a whole list has a row of its own


class Later(StatCache):
    """A cache whose clock is a minute on, so that fresh files count as settled."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, clock=lambda: time.time_ns() + 60_000_000_000)
        self.hits = 0

    def lookup(self, spans: Iterable[Span], *, algorithm: str) -> dict[Span, Digest]:
        known = super().lookup(spans, algorithm=algorithm)
        self.hits += len(known)
        return known


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    for index in range(FILES):
        (root / f"{index:02}").write_bytes(bytes([index]) * 100)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Later:
    return Later(tmp_path / "cache.db")


def test_an_unchanged_folder_is_not_read_again(folder: Path, cache: Later) -> None:
    first = hash_path(folder, cache=cache)
    assert cache.hits == 0
    for turn in range(1, 4):  # the first finds each file, the others the whole list
        assert hash_path(folder, cache=cache) == first == hash_path(folder)
        assert cache.hits == turn * FILES


@pytest.mark.parametrize("turns", [1, 3])
def test_an_edit_of_the_same_size_with_its_time_put_back_is_seen(
    folder: Path, cache: Later, turns: int
) -> None:
    for _ in range(turns):
        manifest = hash_path(folder, cache=cache)
    cache.hits = 0
    flip_byte_and_put_the_time_back(folder / "07")
    with pytest.raises(errors.DigestMismatch, match="'07'"):
        manifest.verify(folder, cache=cache)
    assert cache.hits == FILES - 1


def test_files_that_change_places_are_seen(folder: Path, cache: Later) -> None:
    for _ in range(3):
        manifest = hash_path(folder, cache=cache)
    (folder / "07").rename(folder / "x")
    (folder / "08").rename(folder / "07")
    (folder / "x").rename(folder / "08")
    assert manifest.diff(hash_path(folder, cache=cache)).changed == ("07", "08")


def test_a_cache_keeps_a_bounded_number_of_lists(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "cache.db")
    for turn in range(70):
        spans: list[Span] = [((1, turn * 100 + at, 3, 5, 5), 0, 3) for at in range(64)]
        cache.store(dict.fromkeys(spans, Digest.of(b"abc")), began=10**18)
        assert len(cache.lookup(spans, algorithm="sha256")) == len(spans)
    with sqlite3.connect(cache.path) as connection:
        assert connection.execute("SELECT count(*) FROM list").fetchone() == (64,)


def test_an_edit_right_after_hashing_is_seen_without_waiting(folder: Path, tmp_path: Path) -> None:
    for _ in range(5):  # within the file system's granularity, as an attacker would
        (folder / "00").write_bytes(b"a" * 100)
        manifest = hash_path(folder, cache=tmp_path / "cache.db")
        flip_byte_and_put_the_time_back(folder / "00")
        assert manifest.diff(hash_path(folder, cache=tmp_path / "cache.db")).changed == ("00",)


@pytest.mark.parametrize("after", [10_000_000, 60_000_000])
def test_a_file_that_changed_within_the_granularity_is_not_kept(
    folder: Path, tmp_path: Path, after: int
) -> None:
    stamps = [stamp_of(path.stat()) for path in folder.iterdir()]
    began = max(stamp[4] for stamp in stamps) + after
    settled = [stamp for stamp in stamps if stamp[4] + granularity(stamp) < began]
    assert len(settled) < FILES or after == 60_000_000
    hash_path(folder, cache=StatCache(tmp_path / "cache.db", clock=lambda: began))
    again = Later(tmp_path / "cache.db")
    hash_path(folder, cache=again)
    assert again.hits == len(settled)


def test_whole_seconds_are_taken_for_a_coarse_clock(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "cache.db")
    second = 1_700_000_000 * 1_000_000_000
    span: Span = ((1, 2, 3, second, second), 0, 3)
    assert cache.store({span: Digest.of(b"abc")}, began=second + 1_000_000_000) == 0
    assert cache.store({span: Digest.of(b"abc")}, began=second + 3_000_000_000) == 1


def test_algorithms_and_shards_do_not_mix(folder: Path, cache: Later) -> None:
    hash_path(folder, cache=cache)
    for options in ({"algorithm": "blake2b"}, {"shard_size": 64}):
        assert hash_path(folder, cache=cache, **options) == hash_path(folder, **options)
        assert cache.hits == 0
        assert hash_path(folder, cache=cache, **options) == hash_path(folder, **options)
        cache.hits = 0


@pytest.mark.parametrize("place", [1, -1, 2**63 - 1, 2**63, 2**64 - 1])
def test_any_inode_number_can_be_kept(tmp_path: Path, place: int) -> None:
    cache = StatCache(tmp_path / "cache.db")
    span: Span = ((place % 2**64, place % 2**64, 3, 5, 5), 0, 3)
    cache.store({span: Digest.of(b"abc")}, began=10**18)
    assert cache.lookup([span], algorithm="sha256") == {span: Digest.of(b"abc")}


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def drop_the_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE digest")


def shorten_values(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE digest SET value = x'00'")


def shorten_lists(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE list SET value = substr(value, 33)")


def remove(path: Path) -> None:
    path.unlink()


def require_rebuilt(folder: Path, used: Later) -> None:
    expected = hash_path(folder)
    with pytest.warns(errors.MLSecOpsWarning, match="created anew"):
        assert hash_path(folder, cache=used) == expected
    after = Later(Path(used.path))
    hash_path(folder, cache=after)
    assert hash_path(folder, cache=after) == expected
    assert after.hits >= FILES


@pytest.mark.parametrize("attack", [overwrite, drop_the_table, shorten_values, remove])
def test_a_cache_that_is_damaged_while_in_use_is_rebuilt(
    folder: Path, cache: Later, attack: Callable[[Path], None]
) -> None:
    hash_path(folder, cache=cache)
    attack(Path(cache.path))
    require_rebuilt(folder, cache)


def test_a_damaged_list_is_rebuilt(folder: Path, cache: Later) -> None:
    for _ in range(2):
        hash_path(folder, cache=cache)
    shorten_lists(Path(cache.path))
    require_rebuilt(folder, cache)


@pytest.mark.parametrize("attack", [overwrite, truncate])
def test_a_damaged_cache_is_rebuilt_when_it_is_opened(
    folder: Path, cache: Later, attack: Callable[[Path], None]
) -> None:
    hash_path(folder, cache=cache)
    attack(Path(cache.path))
    with pytest.warns(errors.MLSecOpsWarning, match="created anew"):
        hash_path(folder, cache=cache.path)
    assert hash_path(folder, cache=cache) == hash_path(folder)


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.touch(mode=0o600)
    path.chmod(0o666)
    with pytest.raises(errors.UsageError, match="by others"):
        StatCache(path)


def plant_a_log(folder: Path, cache: Later) -> Path:
    """Forge the digests of a folder by a write-ahead log beside a cache that stays untouched."""
    own = Later(Path(f"{cache.path}-of-mallory"))
    hash_path(folder, cache=own)
    with closing(sqlite3.connect(own.path, isolation_level=None)) as connection:
        connection.execute("UPDATE digest SET value = zeroblob(32)")
        connection.execute("PRAGMA wal_checkpoint")
        connection.execute("VACUUM")
        return Path(shutil.copy(f"{own.path}-wal", f"{cache.path}-wal"))


def test_a_log_that_others_put_beside_the_cache_is_refused(folder: Path, cache: Later) -> None:
    expected = hash_path(folder)
    planted = plant_a_log(folder, cache)
    assert hash_path(folder, cache=Later(Path(cache.path))) != expected  # SQLite believes it
    for suffix in ("-wal", "-shm", "-journal"):
        other = Path(f"{cache.path}{suffix}")
        other.unlink(missing_ok=True)
        other.symlink_to(planted)
        with pytest.raises(errors.UsageError, match=f"db{suffix} is no regular file"):
            hash_path(folder, cache=cache)
        other.unlink()
        other.touch()
        other.chmod(0o666)
        for use in (cache, cache.path):
            with pytest.raises(errors.UsageError, match=f"db{suffix} could have been written by"):
                hash_path(folder, cache=use)
        other.unlink()


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_cache_in_a_folder_of_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    with pytest.raises(errors.UsageError, match="a folder that everybody can write"):
        StatCache(shared / "cache.db")


def test_what_cannot_be_a_cache_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(errors.UsageError, match="no regular file"):
        StatCache(tmp_path / "pipe")
    path = tmp_path / "cache.db"
    StatCache(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.warns(errors.MLSecOpsWarning, match="layout 9: expected 1"):
        assert hash_path(folder, cache=path) == hash_path(folder)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("ignore:.*created anew:mlsecops.errors.MLSecOpsWarning")
def test_a_cache_on_a_full_disk_is_an_error_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"nonsense" * 1000)
    (tmp_path / "damaged.db").chmod(0o600)
    for name in ("new.db", "damaged.db"):
        with full_disk(), pytest.raises(errors.UsageError, match="cannot use the cache"):
            StatCache(tmp_path / name)


def test_a_disk_that_is_full_for_a_while_costs_no_cache(folder: Path, cache: Later) -> None:
    expected = hash_path(folder, cache=cache)
    before = Path(cache.path).stat().st_ino
    with full_disk(), pytest.warns(errors.MLSecOpsWarning, match="left out: disk I/O error"):
        assert hash_path(folder, cache=cache) == expected
    cache.hits = 0
    assert hash_path(folder, cache=cache) == expected
    assert (cache.hits, Path(cache.path).stat().st_ino) == (FILES, before)


@pytest.mark.filterwarnings("ignore:.*created anew:mlsecops.errors.MLSecOpsWarning")
def test_a_damaged_cache_in_a_folder_that_cannot_be_written_is_an_error_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache.db").write_bytes(b"nonsense" * 1000)
    (tmp_path / "cache.db").chmod(0o600)

    def refuse(*_: object) -> None:  # as for whoever is not root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(errors.UsageError, match=r"cannot use the cache .*Permission denied"):
        StatCache(tmp_path / "cache.db")


def test_a_cache_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(errors.UsageError, match="by others"):
        StatCache(tmp_path / "cache.db")


def test_a_cache_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.touch(mode=0o600)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    releasing = threading.Timer(0.3, other.close)
    releasing.start()
    StatCache(path)
    releasing.join()


def test_a_cache_behind_a_symlink_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path / "none" / "cache.db", tmp_path):
        with pytest.raises(errors.UsageError, match="cannot use the cache"):
            StatCache(path)


def test_a_cache_is_its_owners_alone(cache: Later) -> None:
    assert Path(cache.path).stat().st_mode & 0o777 == 0o600


def hash_with(folder: str, cache: str) -> str:
    return str(hash_path(folder, cache=Later(Path(cache))).root)


def test_many_processes_share_a_cache(folder: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        roots = pool.map(hash_with, [str(folder)] * 12, [str(tmp_path / "cache.db")] * 12)
        assert set(roots) == {str(hash_path(folder).root)}


def test_a_cache_that_another_holds_for_too_long_is_left_out(
    folder: Path, cache: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.provenance.files.stat_cache.BUSY_SECONDS", 0.01)
    with sqlite3.connect(cache.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(errors.MLSecOpsWarning, match="left out"):
            assert hash_path(folder, cache=cache) == hash_path(folder)
