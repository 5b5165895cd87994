from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from mlsecops.errors import CallRefused, RateLimited, UsageError
from mlsecops.monitoring import Quota, RateLimit, monitored
from tests.attackers.monitoring import flood
from tests.services import free_port, redis_server


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as address:
        yield address


def test_each_window_refuses_and_says_when_to_come_back() -> None:
    quota = Quota("5/day; 3/minute", name="windows")
    for _ in range(3):
        quota.check("ann", 1)
    with pytest.raises(RateLimited, match="3 per 1 minute") as refused:
        quota.check("ann", 1)
    assert 0 < refused.value.retry_after <= 60
    quota.check("ben", 1)
    batches = Quota("10/minute", name="batches", cost=len)
    batches.check("ann", range(9))
    with pytest.raises(RateLimited):
        batches.check("ann", range(2))


def test_longer_window_refuses_where_the_shorter_one_would_not() -> None:
    quota = Quota("100/second; 4/hour", name="long")
    assert flood(quota.check, 20, "ann", 1) == 16


@pytest.mark.parametrize(
    "limit", [RateLimit(0.01, per="model", burst=5), Quota("5/hour", per="model")]
)
def test_clients_share_the_quota_of_the_model(limit: RateLimit | Quota) -> None:
    assert sum(flood(limit.check, 1, f"client {i}", 1) for i in range(20)) == 15
    with pytest.raises(RateLimited, match="all clients together"):
        limit.check("newcomer", 1)


def test_made_up_clients_do_not_fill_the_memory() -> None:
    quota = Quota("1000/day", capacity=50)
    for i in range(500):
        quota.check(f"sybil {i}", 1)
    assert len(quota._limiter.storage.storage) <= 60


def test_replicas_count_together_in_redis_and_clients_names_stay_out_of_it(redis: str) -> None:
    code = """
import sys
from mlsecops.errors import RateLimited
from mlsecops.monitoring import Quota, monitored
quota = Quota("40/hour; 1000/day", name="shared", store=sys.argv[1])
predict = monitored("replica", client=lambda x: "ann@example.org", guards=[quota])(lambda x: x)
passed = 0
for _ in range(50):
    try: predict(1)
    except RateLimited: continue
    passed += 1
print(passed)
"""
    replicas = [
        subprocess.Popen([sys.executable, "-c", code, redis], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    passed = [int(replica.communicate(timeout=60)[0]) for replica in replicas]
    assert sum(passed) == 40
    import redis as client  # noqa: PLC0415 - the extra's package, by the name of the fixture

    keys = client.Redis.from_url(redis).keys()
    assert keys
    assert not any(b"ann" in key for key in keys)


def test_unreachable_store_refuses_at_once_and_without_its_password() -> None:
    quota = Quota("5/second", store=f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    predict = monitored("cut-off", guards=[quota])(lambda x: x)
    with pytest.raises(CallRefused, match="cannot be reached") as refused:
        predict(1)
    assert "hunter2" not in str(refused.value)
    predict.monitor.close()


@pytest.mark.parametrize("windows", ["", "many", "5", "-1/second", "5/fortnight"])
def test_windows_that_cannot_be_read_are_refused(windows: str) -> None:
    with pytest.raises(UsageError, match="windows"):
        Quota(windows)


def test_unknown_store_is_refused_without_its_password() -> None:
    with pytest.raises(UsageError, match="'carrier'") as refused:
        Quota("5/second", store="carrier://:hunter2@pigeon")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
