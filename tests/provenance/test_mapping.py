from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from mlsecops import errors, hash_path
from mlsecops.provenance.files import mapping
from mlsecops.provenance.files.hashing import MAPPED_BYTES, hash_file
from mlsecops.provenance.files.leases import take_lease

SIZE = 2 * mapping.WINDOW + 12_345


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20) + b"x" * (SIZE % (1 << 20)))
    with path.open("rb") as stream:
        if not take_lease(stream.fileno()):
            pytest.skip("no lease is given on this file system")
    return path


def mapped_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of bytes that are hashed from mappings, as they come."""
    seen: list[int] = []
    original = mapping.hash_mapped

    def watch(*arguments: object) -> int:
        seen.append(original(*arguments))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr("mlsecops.provenance.files.hashing.hash_mapped", watch)
    return seen


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake2b"])
def test_a_large_file_is_hashed_without_a_copy(
    big: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    seen = mapped_bytes(monkeypatch)
    digest, size = hash_file(big, algorithm=algorithm)
    assert (digest.hex, size) == (hashlib.new(algorithm, big.read_bytes()).hexdigest(), SIZE)
    assert seen == [SIZE]


def test_shards_between_pages_have_the_digests_of_their_bytes(big: Path) -> None:
    data, size = big.read_bytes(), MAPPED_BYTES + 4097
    for entry in hash_path(big, shard_size=size):
        start, stop = (int(part) for part in entry.name.rsplit(":", 2)[1:])
        assert entry.digest.hex == hashlib.sha256(data[start:stop]).hexdigest()


@pytest.mark.parametrize("missing", ["lease", "populate", "later"])
def test_what_cannot_be_mapped_is_read(
    big: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    seen = mapped_bytes(monkeypatch)
    if missing == "lease":
        monkeypatch.setattr(mapping, "take_lease", lambda _: False)
    elif missing == "populate":
        monkeypatch.setattr(mapping, "_POPULATE_READ", 9999)
    else:
        answers = iter([True, False])
        monkeypatch.setattr(mapping, "has_lease", lambda _: next(answers))
    assert hash_file(big)[0].hex == hashlib.sha256(big.read_bytes()).hexdigest()
    assert seen == [mapping.WINDOW if missing == "later" else 0]


def test_a_writer_waits_for_a_window_and_is_noticed(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, writers = mapping.has_lease, []

    def with_writer(descriptor: int) -> bool:
        if not writers:
            writers.append(threading.Thread(target=big.write_bytes, args=(b"cut",)))
            writers[0].start()
            deadline = time.monotonic() + 30
            while original(descriptor) and time.monotonic() < deadline:
                time.sleep(0.001)
        return original(descriptor)

    monkeypatch.setattr(mapping, "has_lease", with_writer)
    with pytest.raises(errors.ChangedDuringLoad, match=r"weights\.bin"):
        hash_file(big)
    writers[0].join(timeout=30)
    assert big.read_bytes() == b"cut"
