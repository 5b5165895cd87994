"""Folders of a shared storage that several writers make at once: each has the right mode."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from mlsecops import _files
from mlsecops._files import private_folder, private_mode, write_atomically
from mlsecops.errors import UsageError

UMASKS = pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], indirect=True)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(place.stat().st_mode) for place in folder.rglob("*")}


@UMASKS
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    ("outer", "folder", "file"), [(0o2770, 0o2770, 0o660), (0o700,) * 2 + (0o600,)]
)
def test_a_folder_whose_maker_came_no_further_gets_its_mode_from_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: int, folder: int, file: int
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(outer)
    with monkeypatch.context() as killed:
        killed.setattr(_files, "_settle", lambda *_, **__: None)
        private_folder(top / "a" / "b", shared=True)
    assert modes(top) != {folder}
    private_folder(top / "a", shared=True)
    found = private_folder(top / "a" / "b", shared=True)
    assert private_mode(found, shared=True) == file
    assert modes(top) == {folder}


@UMASKS
@pytest.mark.usefixtures("umask")
def test_writers_at_once_share_what_they_make(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    start, seen = threading.Barrier(6), list[int]()

    def write(number: int) -> None:
        start.wait()
        folder = private_folder(tmp_path / "a" / "b" / "c", shared=True)
        seen.append(private_mode(folder, shared=True))
        private_folder(tmp_path / "a" / "b" / str(number), shared=True)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert seen == [0o660] * 6
    assert modes(tmp_path) == {0o2770}


def test_a_folder_that_people_opened_to_others_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_a_path_that_cannot_be_written_is_wrong_use(tmp_path: Path) -> None:
    file, long = tmp_path / "file", tmp_path / ("n" * 255)
    write_atomically(file, b"x")
    assert write_atomically(long, b"x").read_bytes() == b"x"
    for wrong in (tmp_path, tmp_path / "absent" / "x", file / "x", Path(), "", "a\0b"):
        with pytest.raises(UsageError, match=r"cannot write|path: expected a path"):
            write_atomically(wrong, b"x")
    assert sorted(tmp_path.iterdir()) == [file, long]
