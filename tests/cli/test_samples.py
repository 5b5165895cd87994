from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.cli import samples
from mlsecops.cli.samples import open_samples
from mlsecops.errors import UsageError
from mlsecops.poisoning import screen_dataset
from tests.attackers.poisoning import digits, with_patch
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "IN_MEMORY", 0)


def zipped(path: Path, x: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("y.npy", npy(np.arange(3)))
        archive.writestr("x.npy", x)
    return path


def npy(values: Any) -> bytes:
    kept = io.BytesIO()
    np.save(kept, values)
    return kept.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_large_inputs_are_mapped_and_are_the_same(
    tmp_path: Path, save: Callable[..., None], order: Any
) -> None:
    x = np.asarray(np.random.default_rng(0).random((60, 5, 4)), order=order)
    save(tmp_path / "d.npz", y=np.arange(60), x=x)
    with open_samples(tmp_path / "d.npz") as (inputs, labels):
        assert isinstance(inputs, np.memmap)
        assert np.array_equal(inputs, x)
        assert np.array_equal(labels, np.arange(60))


def test_small_inputs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "IN_MEMORY", 1 << 20)
    np.savez(tmp_path / "d.npz", x=np.ones((3, 2)), y=np.arange(3))
    with open_samples(tmp_path / "d.npz") as (inputs, _):
        assert not isinstance(inputs, np.memmap)


def test_a_mapped_file_is_screened_as_one_in_memory(command: Command, tmp_path: Path) -> None:
    x, y, _ = with_patch(*digits(), rate=0.05)
    np.savez_compressed(tmp_path / "d.npz", x=x[:500], y=y[:500])
    outcome = command("screen", tmp_path / "d.npz")
    assert outcome.status == 1
    found = len(screen_dataset(x[:500], y[:500]).suspects)
    assert f"{found} suspects among 500 rows" in outcome.out


def test_more_than_the_disk_takes_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "ON_DISK", 1000)
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((1000, 100)), y=np.zeros(1000, int))
    with pytest.raises(UsageError, match=r"numpy\.savez"), open_samples(tmp_path / "d.npz"):
        pass


def test_an_array_that_says_it_is_larger_than_its_entry_is_refused(tmp_path: Path) -> None:
    lying = npy(np.zeros((3, 8))).replace(b"(3, 8)", b"(9, 8)")
    with (
        pytest.raises(UsageError, match="does not fill"),
        open_samples(zipped(tmp_path / "d.npz", lying)),
    ):
        pass


def test_pickled_inputs_are_refused(tmp_path: Path) -> None:
    pickled = npy(np.array([{}, {}, {}], dtype=object))
    with (
        pytest.raises(UsageError, match="Python objects"),
        open_samples(zipped(tmp_path / "d.npz", pickled)),
    ):
        pass


@pytest.mark.parametrize("cut", [2, 40, 150, 300])
def test_a_cut_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = zipped(tmp_path / "d.npz", npy(np.zeros((3, 8))))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError), open_samples(path):
        pass


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"), open_samples(tmp_path / "d.npz"):
        pass
