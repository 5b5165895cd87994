# ruff: noqa: ANN001 - the fixtures' classes live in conftest
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import shapiro

from mlsecops.errors import FormatRefused, UsageError
from mlsecops.extraction.client_history import Trail
from mlsecops.extraction.prada import shapiro_wilk
from mlsecops.findings import Severity
from mlsecops.monitoring import (
    ExtractionDetector,
    Observed,
    PradaDetector,
    RedisTrails,
    Rule,
    monitored,
)
from mlsecops.readings import Reading
from tests.attackers.monitoring import (
    boundary_thief,
    flipped,
    line_thief,
    stepping_thief,
    uniform_thief,
)
from tests.services import free_port, redis_server

SALT = bytes(range(16))
N = 150


def benign(pool, labels, kind: str, rng) -> np.ndarray:
    """Queries of one benign client."""
    if kind == "few":
        pool = pool[np.isin(labels, rng.choice(10, 2, replace=False))]
    if kind == "rescan":
        few = pool[rng.choice(len(pool), rng.integers(8, 30))]
        rows = few[rng.choice(len(few), N)]
        return rows + rng.normal(scale=0.3, size=rows.shape) * (rng.random((N, 1)) < 0.7)
    rows = pool[rng.choice(len(pool), N)]
    return rows * np.linspace(1, 0.7, N)[:, None] if kind == "drift" else rows


KINDS = ("iid", "few", "rescan", "drift")


@pytest.fixture(scope="module")
def clients(digits) -> list:
    rng = np.random.default_rng(1)
    truth = digits.predict(digits.known).argmax(axis=1)
    queries = [benign(digits.known, truth, kind, rng) for kind in KINDS for _ in range(24)]
    return [(each, digits.predict(each)) for each in queries]


@pytest.fixture(scope="module")
def detector(digits, clients) -> ExtractionDetector:
    return ExtractionDetector.calibrate(
        digits.baseline, clients, false_positive_rate=0.01, salt=SALT, every=1
    )


def peak(detector, digits, queries) -> float:
    return float(detector.score(queries, digits.predict(queries)).max())


def readings(detector, digits, queries, client="c") -> list[Reading]:
    return list(
        detector.observe(
            Observed(
                rows=queries,
                probabilities=digits.predict(queries),
                clients=(client,) * len(queries),
                at=np.zeros(len(queries)),
            )
        )
    )


def test_each_way_of_stealing_is_found(digits, detector) -> None:
    slopes = np.random.default_rng(3).normal(size=64)
    for seed in range(5):
        for queries in (
            uniform_thief(seed, queries=N),
            line_thief(seed, digits.fresh, queries=N),
            boundary_thief(seed, digits.fresh, digits.predict, queries=N),
            stepping_thief(seed, digits.fresh, slopes, queries=N, step=2.0),
        ):
            assert peak(detector, digits, queries) > 1


@pytest.mark.parametrize(
    ("channel", "queries"),
    [
        ("distance, residual and margin", lambda _: uniform_thief(0, queries=N)),
        ("steps in a line", lambda d: line_thief(0, d.fresh, queries=N)),
        (
            "near repeats",
            lambda d: d.fresh[0] + 0.2 * np.random.default_rng(0).normal(size=(N, 64)),
        ),
        (
            "growing residual",
            lambda d: stepping_thief(
                0, d.fresh, np.random.default_rng(3).normal(size=64), queries=N, step=1.5
            ),
        ),
    ],
)
def test_reading_says_what_gave_the_thief_away(digits, detector, channel, queries) -> None:
    name = f"thief by {channel}"
    extraction, coverage = readings(detector, digits, queries(digits), name)
    assert extraction.value > 1
    assert extraction.window.endswith(f"by their {channel}")
    assert 0 < coverage.value < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_benign_kinds_are_spared(digits, detector, kind) -> None:
    rng = np.random.default_rng(9)
    peaks = [
        peak(detector, digits, benign(digits.fresh, digits.labels, kind, rng)) for _ in range(10)
    ]
    assert sum(each > 1 for each in peaks) <= 1


def test_exact_retries_are_no_evidence_whatever_is_retried(digits, detector) -> None:
    strange = uniform_thief(7, queries=1)
    once = detector.score(strange, digits.predict(strange))[-1]
    again = strange.repeat(N, axis=0)
    assert detector.score(again, digits.predict(again))[-1] == once


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_queries_that_are_no_numbers_blind_nobody(digits, detector, value) -> None:
    client = f"{value} thief"
    hostile = digits.fresh[:16].copy()
    hostile[::2, :3] = value
    answers = digits.predict(digits.fresh[:16])
    traffic = Observed(rows=hostile, probabilities=answers, clients=(client,) * 16, at=np.zeros(16))
    assert all(np.isfinite(each.value) for each in detector.observe(traffic))
    assert readings(detector, digits, uniform_thief(3, queries=40), client)[0].value > 1


def test_evidence_does_not_depend_on_how_queries_are_batched(digits, detector) -> None:
    queries = line_thief(1, digits.fresh, queries=N)
    at_once = readings(detector, digits, queries, "at once")[0].value
    for part in np.split(queries, [1, 2, 10, 60]):
        last = readings(detector, digits, part, "in parts")[0].value
    assert last == pytest.approx(at_once)
    assert last == pytest.approx(peak(detector, digits, queries))


def test_queries_wait_until_there_are_enough_to_judge_together(digits, clients) -> None:
    options = {"false_positive_rate": 0.01, "salt": SALT}
    patient = ExtractionDetector.calibrate(digits.baseline, clients, **options)
    queries = uniform_thief(4, queries=24)
    told = [readings(patient, digits, query[None]) for query in queries]
    assert [place for place, each in enumerate(told) if each] == [7, 15, 23]
    assert told[-1][0].value == pytest.approx(peak(patient, digits, queries))


def test_covered_regions_add_up_and_a_rule_may_set_a_budget(digits, detector) -> None:
    alerts = []
    budget = Rule(
        id="coverage",
        metric="mlsecops.extraction.coverage",
        comparison=">",
        threshold=0.15,
        severity=Severity.MEDIUM,
        message="A client has seen more of the model than it needs.",
    )
    predict = monitored(
        "covered",
        baseline=digits.baseline,
        client=lambda _, who: who,
        detectors=[detector],
        rules=[budget],
        sinks=[alerts.append],
    )(lambda x, _who: digits.predict(x)[0])
    for row in digits.fresh[:200]:
        predict(row, "collector")
        predict(digits.fresh[0], "regular")
    predict.monitor.flush(20)
    assert {(alert.rule, alert.client) for alert in alerts} == {("coverage", "collector")}
    predict.monitor.close()


def test_what_is_remembered_of_a_client_is_bounded_and_survives_the_wire(digits, detector) -> None:
    store: dict[str | None, Trail] = {}

    class Kept:
        def use(self, client, _now, change):  # noqa: ANN202 - a Trails
            return change(store.setdefault(client, Trail()))

    kept = ExtractionDetector(
        detector._sight, detector._usual, trails=Kept(), features=64, rate=0.01, every=1
    )
    for part in np.split(digits.fresh, [100, 300]):
        readings(kept, digits, part)
    data = store["c"].to_bytes()
    assert len(store["c"].marks) == 200
    assert len(data) < 64_000
    assert Trail.from_bytes(data).to_bytes() == data
    for place in range(0, len(data), len(data) // 40):
        with pytest.raises(FormatRefused):
            Trail.from_bytes(flipped(data, place))


def test_trail_that_contradicts_itself_is_refused() -> None:
    for wrong in (
        Trail(sums=np.zeros(3)),
        Trail(sums=np.full(10, np.nan)),
        Trail(marks=np.zeros((300, 4), np.float32)),
        Trail(classes=np.zeros(7, np.int64)),
        Trail(scores=np.zeros((0, 5), np.float32)),
        Trail(regions=np.zeros((2, 2), np.int64)),
        Trail(queries=-1),
    ):
        with pytest.raises(FormatRefused):
            Trail.from_bytes(wrong.to_bytes())


def test_marks_keep_distances_and_depend_on_the_salt(digits, clients, detector) -> None:
    other = ExtractionDetector.calibrate(
        digits.baseline, clients, false_positive_rate=0.01, salt=SALT[::-1]
    )
    rows, answers = digits.fresh[:2], digits.predict(digits.fresh[:2])
    ours, theirs = (each._sight.look(rows, answers).marks for each in (detector, other))
    assert not np.allclose(ours, theirs)
    assert np.linalg.norm(ours[0] - ours[1]) == pytest.approx(
        np.linalg.norm(theirs[0] - theirs[1]), rel=0.3
    )
    assert not np.allclose(ours, detector._sight._project(rows)[:, : ours.shape[1]])


def test_calibration_needs_enough_clients_a_rate_and_a_long_salt(digits, clients) -> None:
    for wrong, options in (
        (clients[:3], {}),
        (clients[:8], {"false_positive_rate": 0}),
        (clients[:8], {"every": 0}),
        (clients[:8], {"salt": b"short"}),
        ([(x[:, :5], p) for x, p in clients[:8]], {}),
        ([(x, p[:5]) for x, p in clients[:8]], {}),
    ):
        with pytest.raises(UsageError):
            ExtractionDetector.calibrate(
                digits.baseline, wrong, **{"false_positive_rate": 0.01, **options}
            )


def test_one_thief_under_many_names_is_hinted_at(digits, clients) -> None:
    detector = ExtractionDetector.calibrate(
        digits.baseline, clients, false_positive_rate=0.01, every=4
    )
    rng = np.random.default_rng(8)
    for number in range(60):
        queries = digits.fresh[rng.choice(len(digits.fresh), 16)]
        readings(detector, digits, queries, f"honest {number}")
    assert detector.resembling() == ()
    for number in range(12):
        queries = digits.fresh[rng.choice(len(digits.fresh), 8)].copy()
        queries[::4] = uniform_thief(number, queries=2)
        assert all(each.value < 1 for each in readings(detector, digits, queries, f"s{number}"))
    group = max(detector.resembling(), key=lambda each: len(each.clients))
    thief = {f"s{number}" for number in range(12)}
    assert len(thief & set(group.clients)) >= 10
    assert len(set(group.clients) - thief) <= 4
    assert group.chance < 0.001 / 10
    assert group.share > group.expected


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as address:
        yield address


def sharing(detector, trails) -> ExtractionDetector:
    replica = ExtractionDetector(
        detector._sight, detector._usual, trails=trails, features=64, rate=0.01, every=1
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
    replicas = [sharing(detector, RedisTrails(redis, salt=SALT)) for _ in range(2)]
    for number, query in enumerate(queries):
        last = readings(replicas[number % 2], digits, query[None], "ann@example.org")[0]
    assert last.value == pytest.approx(alone)
    assert (
        alone
        > 1
        > readings(
            sharing(detector, RedisTrails(redis, salt=SALT, name="b")),
            digits,
            queries[::4],
            "ann@example.org",
        )[0].value
    )


def test_redis_holds_no_names_forgets_in_time_and_damage_starts_anew(
    digits, detector, redis
) -> None:
    import redis as client  # noqa: PLC0415 - the extra's package, by the name of the fixture

    trails = RedisTrails(redis, salt=SALT, name="damage", ttl=60)
    replica = sharing(detector, trails)
    readings(replica, digits, uniform_thief(0, queries=20), "ann@example.org")
    store = client.Redis.from_url(redis)
    (key,) = store.keys("mlsecops:trail:damage:*")
    assert b"ann" not in key
    assert 0 < store.ttl(key) <= 60
    assert len(store.get(key)) < 64_000
    store.set(key, flipped(store.get(key), 500))
    assert readings(replica, digits, digits.fresh[:1], "ann@example.org")[0].value < 0.2
    assert trails.discarded == 1


CODE = """
import sys
from mlsecops.monitoring import RedisTrails
trails = RedisTrails(sys.argv[1], salt=bytes(16), name="race")
def count(trail): trail.queries += 1
for _ in range(100): trails.use("c", 0.0, count)
print(trails.contended, trails.unreachable)
"""


def test_replicas_that_write_at_once_lose_no_change_uncounted(redis) -> None:
    replicas = [
        subprocess.Popen([sys.executable, "-c", CODE, redis], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lost = sum(sum(map(int, each.communicate(timeout=60)[0].split())) for each in replicas)
    queries = RedisTrails(redis, salt=bytes(16), name="race").use("c", 0.0, lambda t: t.queries)
    assert queries + lost == 200


def test_replica_goes_on_alone_while_redis_is_away(digits, detector) -> None:
    trails = RedisTrails(f"redis://:hunter2@127.0.0.1:{free_port()}/0", salt=SALT)
    replica = sharing(detector, trails)
    for query in uniform_thief(2, queries=20):
        last = readings(replica, digits, query[None], "thief")[0]
    assert last.value > 1
    assert trails.unreachable == 1
    for wrong in (lambda: RedisTrails("no address", salt=SALT), lambda: RedisTrails("", salt=b"")):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize("size", [12, 60, 500])
def test_shapiro_wilk_is_scipy_s(size) -> None:
    rng = np.random.default_rng(size)
    for sample in (rng.normal(size=size), rng.exponential(size=size), rng.uniform(size=size)):
        assert shapiro_wilk(sample) == pytest.approx(shapiro(sample).statistic, abs=1e-6)
    assert shapiro_wilk(np.ones(20)) == 0


def test_prada_finds_lines_and_misses_what_the_paper_misses(digits) -> None:
    prada = PradaDetector(delta=0.9)
    for seed in range(3):
        assert peak(prada, digits, line_thief(seed, digits.fresh, queries=N)) > 1
        assert peak(prada, digits, uniform_thief(seed, queries=N)) < 1
    assert peak(prada, digits, digits.fresh[:90]) == 0, "too few distances to say"
    queries = line_thief(0, digits.fresh, queries=N)
    (reading,) = readings(prada, digits, queries)
    assert reading.value == pytest.approx(prada.score(queries, digits.predict(queries))[-1])
    with pytest.raises(UsageError):
        PradaDetector(delta=1)
