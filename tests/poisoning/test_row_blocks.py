from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from mlsecops.poisoning import detect_poisoning, row_blocks, screen_dataset
from mlsecops.poisoning.flat_rows import cut
from tests.attackers.poisoning import Backdoored, digits, with_patch


@contextmanager
def dask() -> Iterator[Executor]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any, set[int]]:
    return with_patch(*digits(), rate=0.05)


@pytest.mark.parametrize("pool", [lambda: ThreadPoolExecutor(3), processes, dask])
def test_the_report_is_the_same_wherever_its_blocks_ran(
    data: Any, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.poisoning.flat_rows.BLOCK", 64)  # several blocks a class
    x, y, patched = data
    with pool() as executor:
        assert screen_dataset(x, y, executor=executor) == screen_dataset(x, y)
        model = Backdoored(y, patched)
        assert detect_poisoning(model, x, y, executor=executor) == detect_poisoning(model, x, y)


def test_blocks_hold_each_row_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsecops.poisoning.flat_rows.BLOCK", 7)
    rows = np.arange(3, 45, 2)
    assert np.array_equal(np.concatenate(cut(rows)), rows)
    assert {len(block) for block in cut(rows)} == {7}


def test_moments_of_blocks_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsecops.poisoning.flat_rows.BLOCK", 7)
    x = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    sums, products = row_blocks.moments(x, np.arange(40), None)
    assert np.allclose(sums, x[:40].sum(axis=0))
    assert np.allclose(products, x[:40].T @ x[:40])
