# ruff: noqa: ANN001 - the fixtures' classes live in conftest
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from mlsecops.errors import UsageError
from mlsecops.monitoring import ExtractionDetector, RedisHistoryStore
from tests.attackers.drift import flipped
from tests.attackers.extraction import uniform_thief
from tests.extraction.queries import SALT, readings
from tests.services import free_port, redis_server


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as address:
        yield address


def sharing(detector, store) -> ExtractionDetector:
    replica = ExtractionDetector(
        detector._scorer, detector._benign, histories=store, features=64, rate=0.01, every=1
    )
    replica.thresholds = detector.thresholds
    return replica


def test_thief_who_spreads_over_replicas_is_found_as_if_there_were_one(
    digits,
    detector,
    redis,
) -> None:
    queries = uniform_thief(11, queries=12)
    alone = readings(detector, digits, queries, "alone")[0].value
    replicas = [sharing(detector, RedisHistoryStore(redis, salt=SALT)) for _ in range(2)]
    for number, query in enumerate(queries):
        last = readings(replicas[number % 2], digits, query[None], "ann@example.org")[0]
    assert last.value == pytest.approx(alone)
    assert (
        alone
        > 1
        > readings(
            sharing(detector, RedisHistoryStore(redis, salt=SALT, name="b")),
            digits,
            queries[::4],
            "ann@example.org",
        )[0].value
    )


def test_redis_holds_no_names_forgets_in_time_and_damage_starts_anew(
    digits, detector, redis
) -> None:
    import redis as client  # noqa: PLC0415 - the extra's package, by the name of the fixture

    histories = RedisHistoryStore(redis, salt=SALT, name="damage", ttl=60)
    replica = sharing(detector, histories)
    readings(replica, digits, uniform_thief(0, queries=20), "ann@example.org")
    store = client.Redis.from_url(redis)
    (key,) = store.keys("mlsecops:client:damage:*")
    assert b"ann" not in key
    assert 0 < store.ttl(key) <= 60
    assert len(store.get(key)) < 64_000
    store.set(key, flipped(store.get(key), 500))
    assert readings(replica, digits, digits.fresh[:1], "ann@example.org")[0].value < 0.2
    assert histories.discarded == 1


CODE = """
import sys
from mlsecops.monitoring import RedisHistoryStore
histories = RedisHistoryStore(sys.argv[1], salt=bytes(16), name="race")
def count(history): history.queries += 1
for _ in range(100): histories.use("c", 0.0, count)
print(histories.contended, histories.unreachable)
"""


def test_replicas_that_write_at_once_lose_no_change_uncounted(redis) -> None:
    replicas = [
        subprocess.Popen([sys.executable, "-c", CODE, redis], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lost = sum(sum(map(int, each.communicate(timeout=60)[0].split())) for each in replicas)
    queries = RedisHistoryStore(redis, salt=bytes(16), name="race").use(
        "c", 0.0, lambda t: t.queries
    )
    assert queries + lost == 200


def test_replica_goes_on_alone_while_redis_is_away(digits, detector) -> None:
    histories = RedisHistoryStore(f"redis://:hunter2@127.0.0.1:{free_port()}/0", salt=SALT)
    replica = sharing(detector, histories)
    for query in uniform_thief(2, queries=20):
        last = readings(replica, digits, query[None], "thief")[0]
    assert last.value > 1
    assert histories.unreachable == 1
    for wrong in (
        lambda: RedisHistoryStore("no address", salt=SALT),
        lambda: RedisHistoryStore("", salt=b""),
    ):
        with pytest.raises(UsageError):
            wrong()
