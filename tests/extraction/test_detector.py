# ruff: noqa: ANN001 - the fixtures' classes live in conftest
from __future__ import annotations

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.extraction.client_history import ClientHistory
from mlsecops.extraction.segments import Segments
from mlsecops.findings import Severity
from mlsecops.monitoring import AlertRule, ExtractionDetector, Observed, monitored
from tests.attackers.extraction import (
    boundary_thief,
    line_thief,
    mixed_thief,
    shifted_thief,
    stepping_thief,
    uniform_thief,
)
from tests.extraction.queries import KINDS, RUNS, SALT, N, benign, peak, readings, still


def test_each_way_of_stealing_is_found(digits, detector) -> None:
    slopes = np.random.default_rng(3).normal(size=64)
    for seed in range(5):
        for queries in (
            uniform_thief(seed, queries=N),
            line_thief(seed, digits.fresh, queries=N),
            boundary_thief(seed, digits.fresh, digits.predict, queries=N),
            stepping_thief(seed, digits.fresh, slopes, queries=N, step=2.0),
            shifted_thief(seed, digits.fresh, queries=N),
            mixed_thief(seed, digits.fresh, queries=N),
        ):
            assert peak(detector, digits, queries) > 1


@pytest.mark.parametrize(
    ("channel", "queries"),
    [
        ("distance, residual and margin", lambda _: uniform_thief(0, queries=N)),
        ("steps in a line", lambda d: line_thief(0, d.fresh, queries=N)),
        ("repeated movements", lambda d: shifted_thief(0, d.fresh, queries=N)),
        (
            "flips of the class",
            lambda d: boundary_thief(0, d.fresh, d.predict, queries=N),
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


@pytest.mark.parametrize("kind", RUNS, ids=lambda kind: kind.__name__)
def test_runs_of_like_inputs_are_spared(digits, detector, kind) -> None:
    rng = np.random.default_rng(11)
    assert sum(peak(detector, digits, kind(digits.fresh, rng)) > 1 for _ in range(12)) <= 1


def test_evidence_does_not_grow_with_the_rate_at_which_a_slow_process_is_read(
    digits, detector
) -> None:
    rng = np.random.default_rng(12)
    seldom = still(digits.fresh, rng)[:1] + np.linspace(0, 8, 30)[:, None] * rng.normal(size=64)
    places = np.linspace(0, len(seldom) - 1, 10 * len(seldom))
    often = np.stack([np.interp(places, np.arange(len(seldom)), each) for each in seldom.T], axis=1)
    levels = []
    for queries in (seldom, often):
        traced = detector._scorer.score(queries, digits.predict(queries))
        history = ClientHistory()
        detector._levels([history], traced, Segments.of([len(queries)]))
        levels.append(history.totals[[4, 5, 8]])
    assert (levels[1] <= np.maximum(levels[0], 0) + 1).all()


def test_outliers_count_among_ordinary_queries_only(digits, detector) -> None:
    drifting = digits.fresh[:N] + np.linspace(0, 8, N)[:, None]
    shares = []
    for queries in (mixed_thief(0, digits.fresh, queries=N), uniform_thief(0, queries=N), drifting):
        traced = detector._scorer.score(queries, digits.predict(queries))
        levels = detector._levels([ClientHistory()], traced, Segments.of([len(queries)]))
        shares.append(levels[:, 9].max())
    assert shares[0] > 1 > max(shares[1:])


def test_clients_in_one_table_are_judged_as_one_by_one(digits, clients) -> None:
    options = {"false_positive_rate": 0.01, "salt": SALT, "every": 4}
    together, alone = (
        ExtractionDetector.calibrate(digits.baseline, clients, **options) for _ in range(2)
    )
    sent = {
        "line": line_thief(2, digits.fresh, queries=N),
        "noise": uniform_thief(2, queries=N),
        "honest": digits.fresh[:N],
    }
    mixed = np.stack(list(sent.values()), axis=1).reshape(-1, 64)
    traffic = Observed(
        rows=mixed,
        probabilities=digits.predict(mixed),
        clients=tuple(sent) * N,
        at=np.zeros(len(mixed)),
    )
    found = {each.client: each.value for each in together.observe(traffic) if "by" in each.window}
    expected = {name: readings(alone, digits, rows, name)[0].value for name, rows in sent.items()}
    assert found == pytest.approx(expected)


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
    budget = AlertRule(
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


def test_projections_keep_distances_and_depend_on_the_salt(digits, clients, detector) -> None:
    other = ExtractionDetector.calibrate(
        digits.baseline, clients, false_positive_rate=0.01, salt=SALT[::-1]
    )
    rows, answers = digits.fresh[:2], digits.predict(digits.fresh[:2])
    ours, theirs = (each._scorer.score(rows, answers).projections for each in (detector, other))
    assert not np.allclose(ours, theirs)
    assert np.linalg.norm(ours[0] - ours[1]) == pytest.approx(
        np.linalg.norm(theirs[0] - theirs[1]), rel=0.3
    )
    assert not np.allclose(ours, detector._scorer._project(rows)[0][:, : ours.shape[1]])


def test_calibration_needs_enough_clients_a_rate_and_a_long_salt(digits, clients) -> None:
    for wrong, options, says in (
        (clients[:3], {}, "clients: expected at least 4"),
        (clients[:8], {"false_positive_rate": 0}, "false_positive_rate"),
        (clients[:8], {"every": 0}, "every"),
        (clients[:8], {"salt": b"short"}, "salt"),
        ([(x, p, p) for x, p in clients[:8]], {}, "pairs"),
        ([(x[:, :5], p) for x, p in clients[:8]], {}, "5"),
        ([(x, p[:5]) for x, p in clients[:8]], {}, "probabilities: expected"),
        ([(x, p[:, :1]) for x, p in clients[:8]], {}, "probabilities: expected"),
    ):
        with pytest.raises(UsageError, match=says):
            ExtractionDetector.calibrate(
                digits.baseline, wrong, **{"false_positive_rate": 0.01, **options}
            )


def test_a_score_is_of_queries_that_fit_the_baseline(detector, clients) -> None:
    x, probabilities = clients[0]
    with pytest.raises(UsageError, match="inputs: expected"):
        detector.score(x[:, :5], probabilities)


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
