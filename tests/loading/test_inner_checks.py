"""Checks that another one anticipates on most ways: each is asked by itself."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import socket
import tarfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlsecops.errors import (
    ChangedDuringLoad,
    ContentRefused,
    FormatRefused,
    LimitExceeded,
    UsageError,
)
from mlsecops.loading import Limits, convert, memory, nested_archives, snapshot_tiers
from mlsecops.loading.formats import chat_templates, pickles, settings
from mlsecops.loading.formats.engines import ort
from mlsecops.loading.formats.json_walk import Place
from mlsecops.loading.formats.trees import catboost
from mlsecops.loading.holding import held_folder, part
from mlsecops.loading.ranges import ranged_tensors
from mlsecops.loading.readers import checked_model, distributed_reader, torch_reader, tree_reader
from mlsecops.loading.sandbox import worker
from mlsecops.loading.scanning import remote
from mlsecops.loading.snapshot import Source
from mlsecops.provenance.files.pieces import Found

NONE = Source(name="m", path="", size=0, content=b"")
fake: Any = SimpleNamespace


def raising(error: BaseException) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_a_template_that_is_nested_too_deeply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_templates, "Values", raising(RecursionError()))
    with pytest.raises(LimitExceeded, match="nested too deeply"):
        chat_templates.ChatTemplates("m")._reach("{{ x }}", "here")


def test_graphs_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = fake(root=lambda: 0, table=lambda *_: 1, tables=lambda *_: [2], text=lambda *_: "")
    monkeypatch.setattr(ort, "flat_tables", lambda *_: nullcontext(tables))
    inner = iter([[3]] * 50)
    monkeypatch.setattr(ort, "_inner", lambda *_: next(inner, []))
    with pytest.raises(LimitExceeded, match="graphs nested deeper than 4"):
        ort.examine_ort(NONE, Limits(depth=4))


def test_one_storage_with_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "storage_bytes", lambda pid: pid[4])
    pids = [("storage", None, "0", "cpu", size) for size in (8, 4)]
    source = Source(name="m", path="", size=100, content=bytes(100))
    with pytest.raises(FormatRefused, match="one storage with two sizes"):
        pickles._require_stored(fake(storages=pids, end=0), source)


def test_templates_in_lists_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_MOST_TARGETS", 5)
    walk: Any = settings._Settings("m", (), raising(AssertionError()))
    with pytest.raises(LimitExceeded, match="too many templates"):
        walk._templates([[]] * 6, Place("templates"), 1)


def test_trees_with_other_offsets() -> None:
    numbers = {catboost._SPLITS: [0, 1], catboost._SIZES: [1, 1], catboost._STARTS: [0]}
    tables: Any = fake(numbers=lambda _, which: numbers[which])
    with pytest.raises(FormatRefused, match="2 trees and 1 offsets"):
        catboost._require_trees(tables, 0, "m")


def test_files_that_cannot_be_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"x")
    monkeypatch.setattr(held_folder, "hash_pieces", raising(OSError(28, "No space left")))
    files = {"w": Found(str(tmp_path / "w"), 1)}
    with (
        pytest.raises(UsageError, match=r"cannot hold w private-copy: No space left"),
        held_folder.held_folder(files, tier="private-copy", algorithm="sha256", limits=Limits()),
    ):
        pass


def test_files_of_a_signature_in_shards() -> None:
    with pytest.raises(UsageError, match="signed in shards of 5 bytes"):
        part._require_signed(fake(shard_size=5), {}, {}, bool, where="m")


def test_memory_that_no_file_is_mapped_at() -> None:
    with pytest.raises(LookupError, match="no file is mapped at 0x1"):
        memory.offset_of(1)


def test_a_mapping_that_cannot_be_copied() -> None:
    with pytest.raises(OSError, match="no memory for a copy"):
        memory._copied(0, 1 << 62, 0, writable=True)


def test_a_mapping_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").write_bytes(bytes(mmap.PAGESIZE))
    fails = fake(mremap=lambda *_: 0)
    monkeypatch.setattr(ctypes, "PyDLL", lambda *_, **__: fails)
    with (tmp_path / "w").open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        with mapped, pytest.raises(OSError, match="cannot replace a mapping"):
            memory.copy_mappings([stream.fileno()])


def test_an_entry_of_another_size_than_declared(tmp_path: Path) -> None:
    with pytest.raises(FormatRefused, match="does not have its declared size"):
        nested_archives._write(io.BytesIO(b"abc"), tmp_path, "w", 4, NONE)


@pytest.mark.parametrize(
    "options", [{"framework": "jax"}, {"framework": "numpy", "device": "cuda"}]
)
def test_tensors_for_another_library(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="read by torch"):
        ranged_tensors.read_tensors(fake(), fake(), tensors=None, limits=Limits(), **options)


def test_a_header_that_was_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fake(unchecked=[fake(what="a key", why="unknown")])
    monkeypatch.setattr(ranged_tensors, "examine_safetensors", lambda *_: found)
    held = fake(part=lambda *_: b"12345678{}", sizes={"m": 10})
    with pytest.raises(FormatRefused, match="a key was not checked"):
        ranged_tensors._header(held, "m", 10, Limits())


def test_types_that_a_library_lacks() -> None:
    placed: Any = fake(span=(0, 0), entry={"dtype": "BF16", "shape": [0]}, file="m")
    with pytest.raises(FormatRefused, match="NumPy has no type for BF16"):
        ranged_tensors._made(fake(), "w", placed, "numpy")
    with pytest.raises(FormatRefused, match="torch has no type for Q3"):
        torch_reader.tensor_in("w", {"dtype": "Q3", "shape": [1]}, memoryview(b"1"))


def test_shards_of_two_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_model, "shards", lambda *_, **__: {"a": "1", "b": "2"})
    formats = iter((("safetensors", None), ("torch", None)))
    model = fake(limits=Limits(), _budget=lambda _: nullcontext(), _scan=lambda *_: next(formats))
    monkeypatch.setattr(checked_model, "spending", nullcontext)
    files = fake(main="index", kind="shards", read=())
    with pytest.raises(FormatRefused, match="shards of one format, got safetensors, torch"):
        checked_model.ModelReader._examined(
            model, files, fake(sources=dict.fromkeys(("index", "1", "2"))), fake()
        )


def test_chunks_of_files_that_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    place = fake(relative_path="../other.distcp")
    with pytest.raises(FormatRefused, match="which is not held"):
        distributed_reader._Chunks({}, (), "cpu").read(place)
    entry = fake(size=(1,))
    metadata = fake(storage_data={_Index("w"): place}, state_dict_metadata={"w": entry})
    monkeypatch.setattr(distributed_reader, "read_pickle", lambda *_, **__: metadata)
    with pytest.raises(FormatRefused, match=r"^a chunk in '\.\./other\.distcp'"):
        distributed_reader.read_distributed(NONE, {}, names=(), device="cpu")


def test_metadata_of_another_kind_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = fake(storage_data=[1], planner_data=None)
    monkeypatch.setattr(distributed_reader, "read_pickle", lambda *_, **__: metadata)
    monkeypatch.setattr(distributed_reader, "_nested", lambda *_: {})
    with pytest.raises(FormatRefused, match="m: not a readable checkpoint"):
        distributed_reader.read_distributed(NONE, {}, names=(), device="cpu")


class _Index(str):
    __slots__ = ()

    @property
    def fqn(self) -> str:
        return str(self)


def test_an_answer_of_a_worker_that_is_gone() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectionResetError, match="the worker process is gone"):
        worker._Child._status(fake(_ours=ours))


def test_a_conversion_replaces_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setattr(convert, "require_confinement", bool)
    with pytest.raises(UsageError, match="out exists; name a file that does not"):
        convert.convert(tmp_path / "none", tmp_path / "out")


def test_a_conversion_needs_its_child_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="is not installed as a file"):
        convert._run(NONE, fake(), 0, 0, 1.0)


def test_a_tar_archive_that_begins_like_a_torch_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "m.pt", "w"):
        pass
    with pytest.raises(FormatRefused, match="a tar archive that begins like a torch file"):
        torch_reader._read_checked(None, tmp_path / "m.pt", (), {}, legacy=True)


def test_trees_that_are_no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tree_reader._READERS, "json", raising(UsageError("two scores a leaf")))
    with pytest.raises(ContentRefused, match=r"m: two scores a leaf; hold the file"):
        tree_reader.read_tree_model(NONE, Limits(), kind="json")


def test_a_place_for_the_scan_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot place w for the scan"):
        remote._empty(Found(str(tmp_path / "file" / "w"), 4))


def test_a_lease_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").write_bytes(b"x")
    descriptor = os.open(tmp_path / "w", os.O_RDONLY)
    try:
        held = snapshot_tiers.pinned(descriptor, "w")
        monkeypatch.setattr(snapshot_tiers, "has_lease", lambda _: False)
        with pytest.raises(ChangedDuringLoad, match="a writer waiting for it"):
            held.confirm()
    finally:
        os.close(descriptor)
