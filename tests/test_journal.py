"""A journal loses nothing that was written whole, and keeps nothing that was not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mlsecops._files import append_line, read_lines
from mlsecops.errors import UsageError


def test_a_journal_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    before = os.umask(0)
    append_line(path, {"answer": "private"})
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "j"
    assert read_lines(path) == []
    for value in ({"a": 1}, {"b": "ü\n"}):
        append_line(path, value)
    assert read_lines(path) == [{"a": 1}, {"b": "ü\n"}]


def test_a_line_cut_short_is_cut_off_for_good(tmp_path: Path) -> None:
    path = tmp_path / "j"
    append_line(path, {"a": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"b": ')
    assert read_lines(path) == [{"a": 1}]
    append_line(path, {"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("damage", [b"7\n", b"{\n", b"[" * 100_000 + b"\n", b"\xff\n"])
def test_what_is_no_journal_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "j").write_bytes(damage)
    with pytest.raises(UsageError, match=r"journal .*j is damaged"):
        read_lines(tmp_path / "j")


def test_a_journal_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot use journal"):
        read_lines(tmp_path)
    with pytest.raises(UsageError, match="cannot use journal"):
        append_line(tmp_path / "absent" / "j", {})
