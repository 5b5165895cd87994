from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness import APGD, FGSM, PGD, Square, evaluate_robustness

torch = pytest.importorskip("torch")
ATTACKS = [FGSM(0.05), PGD(0.05, steps=5), APGD(0.05, steps=5), Square(0.05, queries=20)]


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3)
    )


@pytest.fixture(scope="module")
def data(net: Any) -> Any:
    x = np.random.default_rng(0).random((130, 8), dtype=np.float32)
    return x, adapt(net).logits(x).argmax(axis=1)


def same(one: Any, two: Any) -> Any:
    return one.to_dict() == two.to_dict() and all(
        (one.attacks[n].examples == two.attacks[n].examples).all() for n in one.attacks
    )


def threads() -> Executor:
    return ThreadPoolExecutor(3)


def processes() -> Executor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@pytest.mark.parametrize("pool", [threads, processes])
def test_examples_are_the_same_on_any_pool(net: Any, data: Any, pool: Any) -> None:
    net.train()
    alone = evaluate_robustness(net, *data, ATTACKS, batch_size=16)
    with pool() as executor:
        shared = evaluate_robustness(net, *data, ATTACKS, batch_size=16, executor=executor)
    assert same(alone, shared)
    assert net.training


def test_examples_are_the_same_on_a_dask_cluster(net: Any, data: Any) -> None:
    distributed = pytest.importorskip("distributed")
    alone = evaluate_robustness(net, *data, ATTACKS, batch_size=16)
    with (
        distributed.Client(processes=False, n_workers=2, dashboard_address=None) as client,
        client.get_executor() as executor,
    ):
        shared = evaluate_robustness(net, *data, ATTACKS, batch_size=16, executor=executor)
    assert same(alone, shared)


def test_verdict_does_not_depend_on_the_batch_size(net: Any, data: Any) -> None:
    reports = [
        evaluate_robustness(net, *data, ATTACKS, batch_size=size).to_dict() for size in (7, 130)
    ]
    for report in reports:
        report.pop("forward_passes"), report.pop("gradient_passes")
        for check in report["checks"]:
            check.pop("reason")
    assert reports[0] == reports[1]


def test_progress_counts_every_sample_once(net: Any, data: Any) -> None:
    calls: list[Any] = []
    with threads() as executor:
        evaluate_robustness(
            net, *data, [FGSM(0.05), APGD(0.05, steps=5)], batch_size=50, executor=executor,
            checks=False, progress=lambda *call: calls.append(call),
        )  # fmt: skip
    done = [count for count, _ in calls]
    assert done == sorted(done)
    assert len(done) == 6
    assert (done[2], done[5]) == (130, 260)
    assert {total for _, total in calls} == {260}


def test_model_that_cannot_be_copied_is_refused(net: Any, data: Any) -> None:
    locked = copy.deepcopy(net)
    locked.guard = threading.Lock()
    with threads() as executor, pytest.raises(UsageError, match="cannot be copied"):
        evaluate_robustness(locked, *data, ATTACKS, executor=executor)


def test_adapter_is_copied_with_its_options(net: Any, data: Any) -> None:
    view = adapt(net, channels_first=False, classes=3, device="cpu")
    view.logits(data[0])
    for copied in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
        assert copied.model is not net
        assert (copied.channels_first, copied._classes) == (False, 3)
        assert copied.output == view.output
        assert np.array_equal(copied.logits(data[0]), view.logits(data[0]))
