from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mlsecops.errors import CallRefused, InputRefused, ModelIsolated, RateLimited, UsageError
from mlsecops.monitoring import Baseline, InputGuard, IsolationGuard, Quota, RateLimit, monitored
from mlsecops.provenance.digest import Digest
from tests.attackers.monitoring import Unreachable, flood

DIGEST = Digest.of(b"model")


class DenyList:
    def __init__(self) -> None:
        self.reasons: dict[Digest, str] = {}
        self.asked, self.down = 0, False

    def isolated(self, digest: Digest) -> str | None:
        self.asked += 1
        if self.down:
            raise OSError("no route")
        return self.reasons.get(digest)


def test_flooding_client_is_refused_and_others_are_not() -> None:
    now = [0.0]
    limit = RateLimit(2, burst=5, clock=lambda: now[0])
    predict = monitored("limited", client=lambda _, who: who, guards=[limit])(lambda x, _who: x)
    assert flood(predict, 20, 1, "bot") == 15
    assert predict(1, "human") == 1
    with pytest.raises(RateLimited) as refused:
        predict(1, "bot")
    assert refused.value.retry_after == pytest.approx(0.5)
    now[0] += refused.value.retry_after
    assert predict(1, "bot") == 1
    predict.monitor.flush(5)
    state = predict.monitor.snapshot()
    assert state.calls == state.processed == 23
    predict.monitor.close()


def test_batch_larger_than_the_burst_is_paid_for_afterwards() -> None:
    now = [0.0]
    limit = RateLimit(10, burst=10, cost=len, clock=lambda: now[0])
    limit.check("c", range(100))
    now[0] = 9.0
    with pytest.raises(RateLimited):
        limit.check("c", range(1))
    now[0] = 9.2
    limit.check("c", range(1))


@pytest.fixture(scope="module")
def guard() -> InputGuard:
    return InputGuard(Baseline.fit(np.random.default_rng(0).random((200, 4)), None))


@pytest.mark.parametrize(
    "wrong",
    [
        np.full(4, 9.0),
        np.full(4, np.nan),
        np.array([np.inf, 0, 0, 0]),
        np.ones((3, 5)),
        np.ones(()),
        "text",
        np.array(["1", "1", "1", "1"]),
        None,
        np.array([object()] * 4),
        np.zeros((70_000, 4)),
    ],
    ids=[
        "out of range",
        "not a number",
        "infinite",
        "too wide",
        "no axis",
        "a word",
        "numbers as text",
        "nothing",
        "objects",
        "too many rows",
    ],
)
def test_inputs_unlike_the_baseline_are_refused(guard: InputGuard, wrong: object) -> None:
    with pytest.raises(InputRefused):
        guard.check(None, wrong)


def test_ordinary_inputs_pass(guard: InputGuard) -> None:
    guard.check(None, np.full(4, 0.5))
    guard.check(None, np.full((7, 4), 1.4))


def test_codes_outside_those_of_the_baseline_are_refused() -> None:
    codes = np.random.default_rng(0).integers(0, 4, size=(200, 2)).astype(float)
    mixed = InputGuard(Baseline.fit(codes, None, categorical=[1]))
    mixed.check(None, np.array([5.0, 3.0]))
    for wrong in (np.array([1.0, 4.0]), np.array([1.0, -1.0])):
        with pytest.raises(InputRefused, match="f1 far outside"):
            mixed.check(None, wrong)


def test_columns_in_another_order_are_refused() -> None:
    rows = np.random.default_rng(0).random((200, 2))
    named = InputGuard(Baseline.fit(rows, None, names=["age", "income"]))
    table = pd.DataFrame(rows, columns=["age", "income"])
    named.check(None, table)
    for wrong in (table[["income", "age"]], table[["age"]], table.rename(columns={"age": "old"})):
        with pytest.raises(InputRefused, match="expected column"):
            named.check(None, wrong)
    InputGuard(Baseline.fit(rows, None)).check(None, table)


def test_tables_are_checked_by_name_with_their_texts() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"city": rng.choice(["Rome", "Oslo"], 200), "age": rng.random(200)})
    guard = InputGuard(Baseline.fit(table))
    guard.check(None, table[["age", "city"]])
    guard.check(None, {"city": "Rome", "age": 0.5})
    for wrong, why in (
        (table[["age"]], "expected column 'city'"),
        ({"city": "Bern", "age": 0.5}, "city far outside"),
        ({"city": "Rome", "age": 90.0}, "age far outside"),
        ({"city": None, "age": 0.5}, "city must not be missing"),
    ):
        with pytest.raises(InputRefused, match=why):
            guard.check(None, wrong)


def test_isolated_model_is_refused_after_the_refresh_and_released_again() -> None:
    now, registry = [0.0], DenyList()
    guard = IsolationGuard(DIGEST, registry, refresh=1.0, clock=lambda: now[0])
    predict = monitored("isolated", guards=[guard])(lambda x: x)
    for _ in range(100):
        predict(1)
    assert registry.asked == 1
    registry.reasons[DIGEST] = "incident 7"
    now[0] = 1.0
    with pytest.raises(ModelIsolated, match="incident 7"):
        predict(1)
    registry.reasons.clear()
    now[0] = 2.0
    assert predict(1) == 1
    predict.monitor.close()


def test_model_is_refused_when_nobody_can_say_whether_it_is_isolated() -> None:
    with pytest.raises(ModelIsolated, match="restore access"):
        IsolationGuard(DIGEST, Unreachable()).check(None, None)


def test_isolation_guard_outlives_a_short_loss_of_contact() -> None:
    now, registry = [0.0], DenyList()
    guard = IsolationGuard(DIGEST, registry, stale_after=3.0, clock=lambda: now[0])
    guard.check(None, None)
    registry.down = True
    now[0] = 2.9
    guard.check(None, None)
    now[0] = 4.0
    with pytest.raises(ModelIsolated, match="at most 3 s"):
        guard.check(None, None)
    registry.down = False
    now[0] = 5.0
    guard.check(None, None)


def test_guard_that_fails_refuses_the_call() -> None:
    class Broken:
        def check(self, *_: object) -> None:
            raise KeyError("bug")

    predict = monitored("guard-bug", guards=[Broken()])(lambda x: x)
    with pytest.raises(CallRefused, match="Broken failed"):
        predict(1)
    predict.monitor.close()


@pytest.mark.parametrize("per", ["modle", "clients", "Client", "", None, ["client"], 3])
def test_a_misspelt_scope_of_a_limit_is_refused(per: Any) -> None:
    for make in (lambda: RateLimit(1, per=per), lambda: Quota("2/hour", per=per)):
        with pytest.raises(UsageError, match="per: expected client or model"):
            make()


@pytest.mark.parametrize(
    "wrong", [{"rate": "10"}, {"rate": 1, "burst": -1}, {"rate": 1, "cost": 2}]
)
def test_wrong_numbers_and_functions_of_a_limit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^(rate|burst|cost): expected"):
        RateLimit(**wrong)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("guards", RateLimit(1)),
        ("guards", [RateLimit]),
        ("guards", [print]),
        ("detectors", RateLimit(1)),
        ("rules", "rules.toml"),
        ("sinks", print),
        ("sinks", ["log"]),
        ("client", "ip"),
        ("capacity", "many"),
        ("baseline", "baseline.npz"),
        ("window", 256),
    ],
)
def test_a_wrong_argument_of_monitored_is_named_at_once(argument: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"^{argument}: expected"):
        monitored("m", **{argument: wrong})


def test_an_iterator_of_sinks_serves_every_function() -> None:
    seen: list[Any] = []
    watching = monitored("m", sinks=iter([seen.append]), guards=iter([RateLimit(1, burst=1)]))
    first, second = watching(lambda x: x), watching(lambda x: x)
    first(1)
    for each in (first, second):
        with pytest.raises(RateLimited):
            each(2)


def test_rows_are_limited_in_any_container_and_sparse_rows_and_tensors_pass() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    columns = {name: x[:, place] for place, name in enumerate("abc")}
    guard = InputGuard(Baseline.fit(columns), max_rows=10)
    guard.check(None, {name: each[:10] for name, each in columns.items()})
    with pytest.raises(InputRefused, match="at most 10 rows, got 200"):
        guard.check(None, columns)
    guard = InputGuard(Baseline.fit(csr_matrix(x)), max_rows=10)
    guard.check(None, csr_matrix(x[:10]))
    for wrong in (csr_matrix(x[:11]), csr_matrix(100 * x[:1])):
        with pytest.raises(InputRefused):
            guard.check(None, wrong)
