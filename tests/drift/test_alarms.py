from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mlsecops import Baseline
from mlsecops.drift.alarms.alarm_rate import WEEKLY, AlarmRate
from mlsecops.drift.alarms.dependence import Dependence, LiveDependence, Scores
from mlsecops.drift.alarms.evidence import Known, weigh
from mlsecops.drift.alarms.sequential_test import SequentialTest
from mlsecops.drift.inputs import Floats
from mlsecops.drift.rolling_window import Recent, Window
from mlsecops.errors import UsageError

DAY = 86_400.0


def independent(rng: np.random.Generator, rows: int, features: int = 8) -> Floats:
    return rng.normal(size=(rows, features))


def sessions(rng: np.random.Generator, rows: int, length: int) -> Floats:
    """Rows in sessions of alike ones: half of the variance is the session's."""
    person = np.repeat(rng.normal(size=(-(-rows // length), 8)), length, axis=0)[:rows]
    return np.sqrt(0.5) * person + np.sqrt(0.5) * rng.normal(size=(rows, 8))


def alarms(baseline: Baseline, rows: Floats, at: Floats | None = None) -> list[int]:
    """Rows at which an alarm began."""
    test = SequentialTest(baseline.inputs, baseline.order, rate=WEEKLY, window=Window())
    recent, held, began, on = Recent(baseline.layout, Window()), test.no_alarm(), [], False
    times = np.arange(len(rows)) / 10 if at is None else at
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        profile, _ = test.add(rows[part], times[part])
        recent.add(profile.count, now=float(times[part][-1]), profile=profile, flagged=0,
            answers=np.empty((0, 3)))  # fmt: skip
        report, held = test.compare(recent.profile(), held)  # type: ignore[arg-type] # it has a layout
        if report.drifted and not on:
            began.append(start + 64)
        on = bool(report.drifted)
    return began


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 1_025, 4_096])
def test_a_batch_is_counted_once_for_all_rows_and_for_the_newest_window(rows: int) -> None:
    rng = np.random.default_rng(rows)
    baseline = Baseline.fit(independent(rng, 1000))
    test = SequentialTest(baseline.inputs, baseline.order, rate=WEEKLY, window=Window())
    batch = independent(rng, rows)
    whole, newest = test.add(batch, np.arange(rows) / 10)
    for found, expected in ((whole, batch), (newest, batch[-256:])):
        assert found.count == len(expected)
        assert (found.counts == baseline.profile().update(expected).counts).all()


@pytest.mark.parametrize("length", [5, 20])
def test_sessions_of_alike_rows_raise_no_alarm_though_the_reference_had_none(length: int) -> None:
    rng = np.random.default_rng(length)
    baseline = Baseline.fit(independent(rng, 4000))
    assert alarms(baseline, sessions(rng, 40_000, length)) == []


def test_without_the_design_effect_sessions_would_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(independent(rng, 4000))
    monkeypatch.setattr(LiveDependence, "effect", lambda *_: np.ones(8))
    assert alarms(baseline, sessions(rng, 20_000, 20))


@pytest.mark.parametrize("before", [0, 4096])
def test_a_small_shift_of_one_of_many_features_is_found_within_a_thousand_rows(before: int) -> None:
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        baseline = Baseline.fit(independent(rng, 8000, 50))
        rows = independent(rng, before + 1024, 50)
        rows[before:, 7] += 0.25
        found.append(alarms(baseline, rows))
    assert sum(bool(each) and before < each[0] <= before + 1000 for each in found) >= 4


def rhythmic(rng: np.random.Generator, seconds: Floats) -> Floats:
    rows = rng.normal(size=(len(seconds), 3))
    rows[:, 0] += 0.6 * np.sin(2 * np.pi * seconds / DAY)
    return rows


def test_a_daily_rhythm_is_learnt_where_times_are_given_and_a_shift_still_found() -> None:
    rng = np.random.default_rng(0)
    seen = np.sort(rng.uniform(0, 7 * DAY, 8000))
    baseline = Baseline.fit(rhythmic(rng, seen), time=seen)
    assert baseline.report().rhythm == 24
    later = 7 * DAY + np.arange(0, DAY, 3.0)
    rows = rhythmic(rng, later)
    assert alarms(baseline, rows, later) == []
    rows[10_000:, 0] += 0.5
    assert alarms(baseline, rows[8000:12_000], later[8000:12_000])


def test_a_rhythm_without_times_is_no_alarm_and_the_report_says_what_is_lost() -> None:
    rng = np.random.default_rng(0)
    seen = np.arange(0, 7 * DAY, 60.0)
    baseline = Baseline.fit(rhythmic(rng, seen))
    assert alarms(baseline, rhythmic(rng, seen[:4000])) == []
    report = baseline.report()
    assert report.features["f1"].shift is not None
    assert report.features["f1"].shift < 0.4
    assert report.unwatched == ("f0",)
    assert report.allowed == "none"
    assert "too short a reference for f0" in str(report)


def test_the_report_grows_with_the_rate_that_is_declared() -> None:
    baseline = Baseline.fit(independent(np.random.default_rng(0), 4000))
    often, seldom = (baseline.report(rate).largest_shift for rate in ("9/hour", "1/year"))
    assert often is not None
    assert seldom is not None
    assert 0.1 < often < seldom < 0.5
    assert baseline.report().allowed == "1/week"
    for wrong in ("weekly", "0/week", "1/fortnight", ""):
        with pytest.raises(UsageError, match="false_alarms"):
            AlarmRate.parse(wrong)


def test_p_values_of_dependent_rows_are_those_of_fewer_independent_ones() -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(independent(rng, 20_000, 2))
    reference = baseline.inputs.sides
    ones = np.ones(2)
    known = Known.of(reference.counts.astype(float), np.zeros(2), effect=ones, lasting=np.zeros(2))
    codes = np.zeros(2, dtype=bool)

    def p_values(effect: float) -> Iterator[float]:
        for _ in range(300):
            counts = baseline.profile().update(independent(rng, 400, 2)).counts.astype(float)
            found = weigh(known, counts, np.zeros(2), effect=ones * effect, categorical=codes)
            yield from found.p_value.tolist()

    assert np.mean(np.array(list(p_values(1.0))) < 0.1) <= 0.1
    assert np.mean(np.array(list(p_values(8.0))) < 0.1) == 0


def test_design_effects_are_those_of_the_sessions() -> None:
    rng = np.random.default_rng(0)
    rows = sessions(rng, 40_000, 10)
    scores = Scores.of(np.sort(rows.T, axis=1))
    known = Dependence.of(scores(rows))
    assert known.effect(256) == pytest.approx(np.full(8, 5.5), rel=0.4)
    assert not known.lasting.any()
    live = LiveDependence(scores, Dependence.of(scores(independent(rng, 4000))))
    live.update(rows[:2560])
    assert np.median(live.effect(256)) == pytest.approx(5.0, rel=0.35)
