from __future__ import annotations

import time
from pathlib import Path

import pytest

from mlsecops.errors import LimitExceeded
from mlsecops.loading import Limits, limits, scan
from tests.attackers import nested_bombs


def rules(path: Path, ceilings: Limits | None = None) -> set[str]:
    return {finding.rule for finding in scan(path, limits=ceilings).findings}


def test_archives_whose_bytes_add_up_exceed_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "model.tar.xz"
    file.write_bytes(nested_bombs.many_bytes(6, outer="tar"))
    assert "limit-exceeded" in rules(file)


def test_archives_whose_files_multiply_exceed_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(nested_bombs.many_files(4))
    begun = time.process_time()
    assert "limit-exceeded" in rules(file)
    assert time.process_time() - begun < 10


def test_bytes_of_everything_nested_are_limited(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(nested_bombs.zipped({f"{n}.zip": nested_bombs.zipped({"a.txt": b"a" * 400})
                                          for n in range(10)}))  # fmt: skip
    assert "limit-exceeded" not in rules(file)
    assert "limit-exceeded" in rules(file, Limits(bytes=3000))


def test_each_scan_has_a_budget_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(nested_bombs.zipped({"a.txt": b"a" * 900}))
    for _ in range(5):
        assert "limit-exceeded" not in rules(file, Limits(bytes=1000))


def test_time_is_limited_for_everything_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 100.0])
    monkeypatch.setattr(limits.time, "thread_time", lambda: next(clock))
    left = limits.Budget(Limits(), 1000)
    left.spend(1, where="a")
    with pytest.raises(LimitExceeded, match="CPU seconds"):
        left.spend(1, where="a")
