"""Cache of resolved versions: bounded, and never taken from who uses it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.errors import UsageError
from mlsecops.registry import Registry, prune_cache
from mlsecops.signing import Signer, TrustPolicy

Model = Callable[[bytes], Path]
DAYS = 3 * 86_400.0


@pytest.fixture
def cache(registry: Registry, policy: TrustPolicy, model: Model, tmp_path: Path) -> Path:
    """Three resolved versions; the second was used last, and no process uses one now."""
    for weights in (b"one", b"two", b"six"):
        registry.publish("fraud", model(weights))
    reader = Registry(registry.location, policy=policy, cache=tmp_path / "cache")
    for number, version in enumerate((1, 3, 2)):
        path = reader.resolve("fraud", version).path
        assert path is not None
        os.utime(path, (0, time.time() - DAYS + number))
    del reader
    gc.collect()  # which ends its locks, as the end of a process does
    return tmp_path / "cache"


def size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def weights(cache: Path) -> set[bytes]:
    return {each.read_bytes() for each in cache.rglob("weights.bin")}


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_the_least_recently_used_go_first(cache: Path, registry: Registry) -> None:
    each = size(cache) // 3
    assert prune_cache(cache, max_bytes=size(cache)) == 0
    before = size(cache)
    freed = prune_cache(cache, max_bytes=2 * each + 1)
    assert weights(cache) == {b"two", b"six"}
    assert freed == before - size(cache)
    prune_cache(cache, max_bytes=each + 1)
    assert weights(cache) == {b"two"}
    prune_cache(cache, max_bytes=0)
    assert [*cache.iterdir()] == []
    again = Registry(registry.location, policy=registry.policy, cache=cache).resolve("fraud", 1)
    assert again.path is not None
    assert weights(cache) == {b"one"}


def test_a_version_that_a_process_uses_stays(
    cache: Path, registry: Registry, signer: Signer
) -> None:
    key = cache.parent / "key.pem"
    key.write_text(signer.public_key.pem)
    code = (
        "import sys; from mlsecops import Registry, TrustPolicy\n"
        "policy = TrustPolicy(keys=[sys.argv[2]])\n"
        "reader = Registry(sys.argv[1], policy=policy, cache=sys.argv[3])\n"
        "print(reader.resolve('fraud', 1).path, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(registry.location), str(key), str(cache)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        os.utime(path, (0, 0))
        prune_cache(cache, max_bytes=0, unused_for=0)
        assert weights(cache) == {b"one"}
        process.communicate()
    prune_cache(cache, max_bytes=0, unused_for=0)
    assert weights(cache) == set()


def test_a_resolution_locks_and_dates_a_version(
    cache: Path, registry: Registry, policy: TrustPolicy
) -> None:
    reader = Registry(registry.location, policy=policy, cache=cache)
    reader.resolve("fraud", 1)
    prune_cache(cache, max_bytes=0, clock=lambda: time.time() + DAYS)
    assert weights(cache) == {b"one"}
    del reader
    gc.collect()
    prune_cache(cache, max_bytes=0)
    assert weights(cache) == {b"one"}  # within an hour, for a path that a command printed
    prune_cache(cache, max_bytes=0, unused_for=0)
    assert weights(cache) == set()


def test_a_process_that_resolves_many_versions_keeps_few_locks(
    cache: Path, registry: Registry, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.registry.cache._MOST_LOCKED", 1)
    reader = Registry(registry.location, policy=policy, cache=cache)
    before = open_files()
    for version in (1, 2, 3, 1, 2):
        reader.resolve("fraud", version)
    assert open_files() <= before + 1
    prune_cache(cache, max_bytes=0, unused_for=0)
    assert weights(cache) == {b"two"}


def test_what_a_pruned_process_asks_for_is_built_again(
    cache: Path, registry: Registry, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder goes after it was found, and before it is locked."""
    reader = Registry(registry.location, policy=policy, cache=cache)
    use, calls = reader._store._used.use, []

    def late(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 1:
            prune_cache(cache, max_bytes=0, unused_for=0)
        use(folder)

    monkeypatch.setattr(reader._store._used, "use", late)
    path = reader.resolve("fraud", 1).path
    assert path is not None
    assert (path / "weights.bin").read_bytes() == b"one"
    assert len(calls) == 2


def test_leftovers_go_after_a_day_and_other_files_stay(cache: Path) -> None:
    left = [cache / f".draft-{'0' * 16}", cache / f".{'a' * 64}.{'b' * 12}", cache / "mine"]
    for place in left:
        place.mkdir()
        (place / "part").write_bytes(b"part")
    (cache / ("c" * 64)).symlink_to(cache.parent)
    prune_cache(cache, max_bytes=10**9, unused_for=0)
    assert all(place.exists() for place in left)
    for place in left:
        os.utime(place, (0, 0))
    assert prune_cache(cache, max_bytes=10**9, unused_for=0) == 8
    assert [place.exists() for place in left] == [False, False, True]
    prune_cache(cache, max_bytes=0, unused_for=0)
    assert (cache.parent / "registry").is_dir()
    assert (cache / ("c" * 64)).is_symlink()


def test_wrong_bounds_are_wrong_use(tmp_path: Path) -> None:
    assert prune_cache(tmp_path / "absent", max_bytes=0) == 0
    for options in ({"max_bytes": -1}, {"max_bytes": 0.5}, {"max_bytes": 1, "unused_for": -1}):
        with pytest.raises(UsageError, match=[*options][-1]):
            prune_cache(tmp_path, **options)  # type: ignore[arg-type] # misuse
