"""Transparency log in tiles, against a verifier that shares no code with it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mlsecops.audit.checkpoint import vkey
from mlsecops.audit.objects import MemoryStore
from mlsecops.audit.tlog import TileLog
from mlsecops.audit.tlog.edge import Edge
from mlsecops.audit.tlog.operator_keys import log_vkey
from mlsecops.audit.tlog.tiles import bundle_key, decode_bundle, encode_bundle, tile_key
from mlsecops.errors import (
    DigestMismatch,
    EvidenceError,
    MLSecOpsError,
    RollbackRefused,
    UsageError,
)
from mlsecops.provenance import merkle
from mlsecops.signing import Signer
from mlsecops.signing.keys.signer import KeySigner
from tests.audit.tlog import c2sp

NAMES = itertools.count()
ORIGIN = "example.org/log"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("ed25519")


def new_log(signer: Signer, store: MemoryStore | None = None) -> TileLog:
    place = store or MemoryStore(f"tlog-{next(NAMES)}")
    return TileLog(place, prefix="log/", head="head", signer=signer, origin=ORIGIN)


def filled(signer: Signer, size: int) -> tuple[TileLog, MemoryStore]:
    store = MemoryStore(f"tlog-{next(NAMES)}")
    log = new_log(signer, store)
    log.append([b"entry %d" % number for number in range(size)], size=0)
    return log, store


def reader_of(store: MemoryStore) -> Callable[[str], bytes | None]:
    return lambda name: store._objects.get(f"log/{name}")


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "rsa"])
def test_any_client_of_the_specification_verifies_it(kind: str) -> None:
    if kind == "rsa":
        signer: Signer = KeySigner(rsa.generate_private_key(65_537, 2_048))
    else:
        signer = Signer.generate(kind)  # type: ignore[arg-type] # one of the kinds
    store = MemoryStore(f"tlog-{next(NAMES)}")
    log, expected = new_log(signer, store), []
    for size in (1, 2, 255, 256, 257, 600):
        added = [b"entry %d" % number for number in range(len(expected), size)]
        assert log.append(added, size=len(expected)) is not None
        expected += added
        named = log_vkey(signer, ORIGIN)
        assert named is not None
        assert c2sp.verified_entries(reader_of(store), named) == expected
    assert log.verify().size == 600


def test_tiles_are_those_of_the_specification_s_example() -> None:
    edge, writes = Edge.EMPTY.extended([b""] * 70_000)
    keys = {key for key, _ in writes}
    full = {tile_key(0, index) for index in range(273)} | {tile_key(1, 0)}
    partial = {tile_key(0, 273, 112), tile_key(1, 1, 17), tile_key(2, 0, 1)}
    assert {key for key in keys if "entries" not in key} == full | partial
    assert edge.peaks.root == merkle.root([merkle.leaf_hash(b"")] * 70_000)
    assert tile_key(0, 1_234_067) == "tile/0/x001/x234/067"


def mutations(read: dict[str, bytes], count: int) -> Iterator[tuple[str, bytes | None]]:
    """Changes of what a verifier reads, each another one."""
    chance = random.Random(18)  # noqa: S311 - the same each time
    names = sorted(read)
    for number in range(count):
        name = names[number % len(names)]
        data = bytearray(read[name])
        place = chance.randrange(len(data))
        kind = number // len(names) % 6
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = bytes([chance.randrange(256)])
        elif kind == 3:
            data = bytearray(read[names[(number + 1) % len(names)]])
        elif kind == 4:
            del data[place]
        yield name, None if kind == 5 else bytes(data)


def test_every_mutation_is_found_by_either_verifier(signer: Signer) -> None:
    log, store = filled(signer, 600)
    named, read = vkey(ORIGIN, signer.public_key), {}
    assert named is not None

    def recording(name: str) -> bytes | None:
        data = store._objects.get(f"log/{name}")
        if data is not None:
            read[name] = data
        return data

    entries = c2sp.verified_entries(recording, named)
    changed = 0
    for name, data in mutations(dict(read), 240):
        if data == read[name]:
            continue
        changed += 1
        store._objects[f"log/{name}"] = data or b""
        if data is None:
            del store._objects[f"log/{name}"]
        with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion or a wrong signature
            assert c2sp.verified_entries(reader_of(store), named) != entries
        with pytest.raises((MLSecOpsError, OSError)):
            new_log(signer, store).verify()
        store._objects[f"log/{name}"] = read[name]
    assert changed >= 200
    assert log.verify().size == 600


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 513, 700])
def test_proofs_from_tiles_are_those_of_the_whole_tree(signer: Signer, size: int) -> None:
    log, _ = filled(signer, size)
    leaves = [merkle.leaf_hash(b"entry %d" % number) for number in range(size)]
    checkpoint = log.newest()
    tree = log.tree(checkpoint)
    for index in {0, size // 3, size - 1}:
        assert log.inclusion(index)[1] == merkle.inclusion_proof(leaves, index)
    for old in {1, size // 2, size - 1} - {0}:
        assert tree.consistency_steps(old) == merkle.consistency_proof(leaves, old)
    assert tree.peaks(size).root == checkpoint.root


def test_there_is_no_proof_of_an_entry_that_is_not_there(signer: Signer) -> None:
    log, store = filled(signer, 3)
    tree = log.tree(log.newest())
    for index in (-1, 3):
        with pytest.raises(UsageError, match="entry: expected an index below 3"):
            log.inclusion(index)
        with pytest.raises(UsageError, match="inclusion proof: expected an index below 3"):
            tree.inclusion(index, b"", tree.peaks(3).root)
    del store._objects["log/" + tile_key(0, 0, 3)]
    with pytest.raises(DigestMismatch, match="the tile is missing or of another length"):
        new_log(signer, store).inclusion(1)


def test_a_flood_of_new_entries_is_not_kept_in_memory(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, _ = filled(signer, 3)
    monkeypatch.setattr("mlsecops.audit.tlog.reader._MOST_TAIL_BYTES", 20)
    with pytest.raises(EvidenceError, match="at most 20 bytes of new events"):
        log.tail()


def test_entries_are_read_once(signer: Signer) -> None:
    log, store = filled(signer, 300)
    tail = log.tail()
    assert log.append([b"more"], size=300) is not None
    del store._objects["log/" + bundle_key(0)]  # nothing of it is read again
    assert log.tail(tail.peaks).entries == (b"more",)


def test_a_writer_that_was_late_decides_again(signer: Signer) -> None:
    log, store = filled(signer, 5)
    other = new_log(signer, store)
    assert other.append([b"other"], size=5) is not None
    assert log.append([b"late"], size=5) is None
    assert log.append([b"late"], size=6) is not None


@pytest.mark.parametrize("size", [3, 5, 9])
def test_a_writer_refuses_to_write_over_other_entries(signer: Signer, size: int) -> None:
    """An older copy was restored: tiles of the newer log are still there."""
    log, store = filled(signer, 3)
    older = {key: store._objects[key] for key in ("head", "log/checkpoint")}
    for number in range(3, 10):
        log.append([b"entry %d" % number], size=number)
    store._objects.update(older)
    with pytest.raises(DigestMismatch, match="older copy"):
        new_log(signer, store).append([b"x" * (size - 2)] * (size - 2), size=3)


def test_a_restored_checkpoint_alone_is_refused(signer: Signer) -> None:
    log, store = filled(signer, 3)
    older = store._objects["log/checkpoint"]
    for number in range(3, 6):
        log.append([b"entry %d" % number], size=number)
    store._objects["log/checkpoint"] = older
    with pytest.raises(RollbackRefused, match="older copy"):
        new_log(signer, store).append([b"x"], size=3)


def test_a_lost_head_is_made_anew(signer: Signer) -> None:
    _, store = filled(signer, 3)
    del store._objects["head"]
    assert new_log(signer, store).append([b"x"], size=3) is not None


def test_a_head_that_extends_another_log_is_refused(signer: Signer) -> None:
    (log, store), other = filled(signer, 3), MemoryStore(f"tlog-{next(NAMES)}")
    for number in range(4):
        new_log(signer, other).append([b"other %d" % number], size=number)
    store._objects["head"] = other._objects["head"]
    with pytest.raises(DigestMismatch, match="does not extend the published checkpoint"):
        new_log(signer, store).append([b"x"], size=4)
    assert log.verify().size == 3


def test_last_entries_that_are_not_those_of_the_last_tile_are_refused(signer: Signer) -> None:
    _, store = filled(signer, 3)
    store._objects["log/" + bundle_key(0, 3)] = encode_bundle([b"entry 0", b"x", b"entry 2"])
    with pytest.raises(DigestMismatch, match="last entries are not those of its last tile"):
        new_log(signer, store).append([b"x"], size=3)


def test_what_a_writer_needs_is_named(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = filled(signer, 3)
    with pytest.raises(RollbackRefused, match="expected none, found one"):
        log.begin_with([b"x"])
    with pytest.raises(EvidenceError, match="it has no checkpoint"):
        new_log(signer).cosign()
    monkeypatch.setattr("mlsecops.audit.tlog.writer.MOST_HEAD_BYTES", 1000)
    with pytest.raises(UsageError, match="at most 1000 bytes at once"):
        log.append([b"x" * 1000], size=3)


def test_an_entry_has_at_most_64_kib(signer: Signer) -> None:
    log, store = filled(signer, 1)
    assert log.append([b"x" * 65_535], size=1) is not None
    with pytest.raises(UsageError, match="65535"):
        new_log(signer, store).append([b"x" * 65_536], size=2)
    assert log.verify().size == 2


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x05abcd", b"\x00\x01a\x00"])
def test_a_bundle_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(DigestMismatch, match="ends within"):
        decode_bundle(data, where="bundle")
