from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from mlsecops import errors
from mlsecops.provenance import hash_path
from mlsecops.provenance.files import opening
from mlsecops.provenance.files.hashing import hash_pieces
from mlsecops.provenance.files.opening import Below, followed, open_regular
from mlsecops.provenance.files.pieces import Piece
from mlsecops.provenance.files.tree import list_tree
from tests.attackers.provenance import swap_folder_for_link


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "weights").write_bytes(b"good")
    outside = tmp_path / "outside" / "b"
    outside.mkdir(parents=True)
    (outside / "weights").write_bytes(b"evil")
    return root


@pytest.mark.parametrize("name", ["a", "a/b"])
def test_a_folder_swapped_for_a_link_between_walk_and_reading_is_refused(
    folder: Path, name: str
) -> None:
    files = list(list_tree(folder).files.values())
    swap_folder_for_link(folder / name, folder.parent / "outside")
    with pytest.raises(errors.UnsafeContent, match=f"{name} is a symlink: expected a folder"):
        hash_pieces([Piece(each) for each in files])


def test_a_folder_swapped_for_a_link_to_itself_is_refused_as_well(folder: Path) -> None:
    files = list(list_tree(folder).files.values())
    swap_folder_for_link(folder / "a", folder / "a-moved")
    with pytest.raises(errors.UnsafeContent, match="a symlink"):
        hash_pieces([Piece(each) for each in files])


def test_a_folder_swapped_for_a_link_while_the_tree_is_listed_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def swap_after(place: int) -> object:
        entries = list(real(place))
        if any(entry.name == "b" for entry in entries):
            monkeypatch.setattr(os, "scandir", real)
            swap_folder_for_link(folder / "a" / "b", folder.parent / "outside" / "b")
        return _Closing(entries)

    monkeypatch.setattr(os, "scandir", swap_after)
    with pytest.raises(errors.UnsafeContent, match="b is a symlink"):
        list_tree(folder)


def test_a_file_that_goes_away_while_the_tree_is_listed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def remove_after(place: int) -> object:
        entries = list(real(place))
        if any(entry.name == "weights" for entry in entries):
            (folder / "a" / "b" / "weights").unlink()
        return _Closing(entries)

    monkeypatch.setattr(os, "scandir", remove_after)
    with pytest.raises(errors.ChangedDuringLoad, match="weights disappeared"):
        list_tree(folder)


class _Closing(list):  # type: ignore[type-arg]
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_a_file_exchanged_between_walk_and_reading_is_refused(folder: Path) -> None:
    files = list(list_tree(folder).files.values())
    target = folder / "a" / "b" / "weights"
    other = target.with_name("other")
    other.write_bytes(b"evil")
    other.replace(target)
    with pytest.raises(errors.ChangedDuringLoad, match="weights"):
        hash_pieces([Piece(each) for each in files])


def test_a_file_edited_in_place_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder / "a" / "b" / "weights"
    real = os.preadv

    def edit_after(*args: Any) -> int:
        count = real(*args)
        target.write_bytes(b"evil")
        os.utime(target, (1, 1))  # the edit may fall into the clock's tick of the file's making
        return count

    monkeypatch.setattr(os, "preadv", edit_after)
    with pytest.raises(errors.ChangedDuringLoad, match="weights"):
        hash_path(folder)


def test_a_file_that_holds_more_than_its_size_says_is_refused() -> None:
    with pytest.raises(errors.ChangedDuringLoad, match="expected 0 unchanging bytes"):
        hash_path("/proc/self/status")


def test_a_file_replaced_by_a_folder_or_unreadable_is_named(folder: Path) -> None:
    with Below(str(folder)) as below:
        with pytest.raises(errors.UnsafeContent, match="weights is a regular file"):
            below.folder("a/b/weights")
        with pytest.raises(errors.UnsafeContent, match="b is a folder"):
            below.file("a/b")
        with pytest.raises(errors.UsageError, match="nothing"):
            below.file("a/nothing")


def test_a_file_whose_bytes_cannot_be_read_is_named() -> None:
    with pytest.raises(errors.UsageError, match=r"cannot read /proc/\d+/mem: Input/output error"):
        hash_path("/proc/self/mem")


def test_a_folder_whose_names_cannot_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def fail(place: int) -> object:
        if "weights" in os.listdir(place):
            raise OSError(5, "Input/output error")
        return real(place)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(errors.UsageError, match=r"cannot read folder .*model/a/b/: Input/output"):
        list_tree(folder)


def test_a_link_exchanged_while_it_is_followed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, real = folder.parent / "link", os.lstat
    link.symlink_to(folder)

    def exchange_after(path: str) -> os.stat_result:
        status = real(path)
        if os.fspath(path) == str(link):
            link.unlink()
            link.write_bytes(b"other")
        return status

    monkeypatch.setattr(os, "lstat", exchange_after)
    with pytest.raises(errors.UsageError, match="changes meanwhile"):
        hash_path(link)


def test_a_url_where_local_bytes_are_needed_is_named() -> None:
    with pytest.raises(errors.UsageError, match="is a URL: expected a local file"):
        followed("s3://bucket/model")


@pytest.fixture
def no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that opens no folder and nothing relative to one, as Windows."""
    monkeypatch.setattr(opening, "HAS_FOLDER_DESCRIPTORS", False)


@pytest.mark.usefixtures("no_descriptors")
def test_without_descriptors_of_folders_every_name_is_looked_at(folder: Path) -> None:
    weights = folder / "a" / "b" / "weights"
    [entry] = hash_path(folder).entries
    assert (entry.name, entry.size) == ("a/b/weights", 4)
    weights.unlink()
    weights.symlink_to(folder.parent / "outside" / "b" / "weights")
    for path in (weights, folder):
        with pytest.raises(errors.UnsafeContent, match="weights is a symlink"):
            hash_path(path) if path == folder else open_regular(path)
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(errors.UnsafeContent, match="weights is a pipe"):
        open_regular(weights)
    with pytest.raises(errors.UsageError, match=r"cannot read .*nothing"):
        open_regular(folder / "nothing")
    swap_folder_for_link(folder / "a", folder.parent / "outside")
    with Below(str(folder)) as below, pytest.raises(errors.UnsafeContent, match="a is a symlink"):
        below.file("a/b/weights")


@pytest.mark.usefixtures("no_descriptors")
@pytest.mark.parametrize("how", ["removed", "exchanged"])
def test_without_descriptors_a_file_swapped_between_two_looks_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    weights, real = folder / "a" / "b" / "weights", os.open

    def swap_before(path: str, flags: int, **options: Any) -> int:
        weights.unlink()
        if how == "exchanged":
            (folder.parent / "outside" / "b" / "weights").rename(weights)
        return real(path, flags, **options)

    monkeypatch.setattr(os, "open", swap_before)
    wanted = errors.UsageError if how == "removed" else errors.UnsafeContent
    with pytest.raises(wanted, match=r"cannot read|another file than a moment ago"):
        open_regular(weights)


@pytest.mark.usefixtures("no_descriptors")
def test_without_descriptors_a_junction_is_a_link(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = os.lstat(folder)
    junction = SimpleNamespace(st_mode=known.st_mode, st_file_attributes=0x400)
    monkeypatch.setattr(os, "lstat", lambda _: junction)
    with pytest.raises(errors.UnsafeContent, match="is a link: expected a folder"):
        Below(str(folder))


def test_a_tree_deeper_than_open_files_and_recursion_allow_is_hashed(tmp_path: Path) -> None:
    current = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # the whole path is longer than a path may be
        os.mkdir("deep", dir_fd=current)
        below = os.open("deep", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)
    try:
        [entry] = hash_path(tmp_path).entries
    finally:  # deeper than what cleans up after the tests can go
        subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)
    assert entry.name == "deep/" * 1500 + "leaf"


def test_no_descriptor_stays_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are counted, not used
    hash_path(folder)
    (folder / "a" / "link").symlink_to("b")
    with pytest.raises(errors.UnsafeContent):
        hash_path(folder)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
