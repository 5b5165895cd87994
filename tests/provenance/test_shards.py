from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import Digest, Entry, Manifest, hash_path
from mlsecops.provenance.manifest import shard_name, shard_span
from tests.attackers.provenance import flip_byte


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "big:1").write_bytes(bytes(range(20)))
    (root / "small").write_bytes(b"abc")
    (root / "empty").write_bytes(b"")
    return root


def test_each_shard_has_the_digest_of_its_bytes(folder: Path) -> None:
    manifest = hash_path(folder, shard_size=8)
    spans = {"big:1:0:8": (0, 8), "big:1:8:16": (8, 16), "big:1:16:20": (16, 20)}
    assert {entry.name for entry in manifest} == {*spans, "small:0:3"}
    for name, (start, end) in spans.items():
        assert manifest[name].hex == hashlib.sha256(bytes(range(start, end))).hexdigest()
    assert (manifest.shard_size, manifest.uncovered) == (8, ("empty",))


def test_verification_names_the_shard_that_changed(folder: Path) -> None:
    manifest = hash_path(folder, shard_size=8)
    assert manifest.verify(folder) == manifest
    flip_byte(folder / "big:1", at=9)
    with pytest.raises(errors.DigestMismatch) as caught:
        manifest.verify(folder)
    assert caught.value.changed == ("big:1:8:16",)


def test_a_sharded_file_verifies_under_another_name_and_after_a_round_trip(
    folder: Path, tmp_path: Path
) -> None:
    manifest = hash_path(folder / "big:1", shard_size=7)
    moved = (folder / "big:1").rename(tmp_path / "other")
    assert Manifest.load(manifest.save(tmp_path / "m.json")) == manifest
    assert manifest.verify(moved).entries == manifest.entries


@given(st.text(min_size=1), st.integers(0), st.integers(0))
def test_a_shards_name_is_split_on_its_last_two_colons(name: str, start: int, end: int) -> None:
    assert shard_span(shard_name(name, start, end)) == (start, end)


@pytest.mark.parametrize("name", ["w.bin", "w.bin:8", "w.bin:0:x", "0:8", "w.bin:0:"])
def test_a_part_of_another_name_is_no_shard(name: str) -> None:
    entries = (Entry(name, Digest.of(b"")),)
    forged = Manifest(name="w", algorithm="sha256", entries=entries, single=True, shard_size=8)
    with pytest.raises(errors.UsageError, match="not a shard: expected 'path:start:end'"):
        forged.renamed("v")


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "8"])
def test_a_shard_size_that_is_no_count_of_bytes_is_refused(folder: Path, size: int) -> None:
    with pytest.raises(errors.UsageError, match="shard_size"):
        hash_path(folder, shard_size=size)
