"""Data that stays in its file gives the same report, in memory that does not hold it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.poisoning import detect_poisoning, screen_dataset
from mlsecops.poisoning.flat_rows import scaled
from tests.attackers.poisoning import Backdoored, digits, with_patch


def mapped(folder: Path, x: NDArray[np.float32]) -> Any:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_file_gives_the_report_of_the_array(
    order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.poisoning.flat_rows.BLOCK", 64)
    x, y, patched = with_patch(*digits(), rate=0.05)
    stored = mapped(tmp_path, np.asarray(x * 255, dtype=np.uint8, order=order))
    report = screen_dataset(stored, y)
    assert report == screen_dataset(np.array(stored), y)
    assert {s.index for s in report.suspects} >= patched


def test_a_mapped_table_is_scaled_by_column_as_the_array_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 5)) * [1, 10, 100, 1e3, 1e4]
    stored = scaled(mapped(tmp_path, x), stored=True)
    rows = rng.permutation(9000)[:500]
    held = scaled(x, stored=False)
    np.testing.assert_array_equal(stored[rows], held[rows])
    assert held[np.arange(9000)].min(axis=0).tolist() == [0] * 5
    assert held[np.arange(9000)].max(axis=0).tolist() == [1] * 5


def test_a_search_after_training_reads_a_mapped_file_too(tmp_path: Path) -> None:
    x, y, patched = with_patch(*digits(), rate=0.10)
    model = Backdoored(y, patched)
    assert detect_poisoning(model, mapped(tmp_path, x), y) == detect_poisoning(model, x, y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_refused_in_the_last_block_too(
    value: float, tmp_path: Path
) -> None:
    x = np.zeros((9000, 4), dtype=np.float32)
    x[-1, -1] = value
    with pytest.raises(UsageError, match="finite numbers"):
        screen_dataset(mapped(tmp_path, x), np.arange(9000) % 2)


def test_a_row_more_in_a_mapped_file_takes_less_memory_than_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ("flat_rows.BLOCK", "flat_rows._SAMPLE", "neighbour_labels._BANK")
    for most in (*limits, "pattern_search._SAMPLE", "pattern_search._OTHERS", "triggers._SEEN"):
        monkeypatch.setattr(f"mlsecops.poisoning.{most}", 500)
    x, y, _ = with_patch(*digits(), rate=0.05)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(x), 2000)
    large = np.kron(200 * x[chosen], np.ones((3, 3))).astype(np.uint8)
    large += rng.integers(0, 30, large.shape, dtype=np.uint8)
    stored, labels = mapped(tmp_path, large), y[chosen]
    assert screen_dataset(stored[:500], labels[:500]).n == 500  # what is imported is not counted
    small, all_ = peak(stored[:1000], labels[:1000]), peak(stored, labels)
    assert (all_ - small) / 1000 < stored[0].nbytes, (small, all_)


def peak(x: NDArray[np.float32], y: NDArray[np.int64]) -> int:
    """Bytes in use at most while a trigger is looked for and found."""
    tracemalloc.start()
    try:
        assert screen_dataset(x, y).triggers
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
