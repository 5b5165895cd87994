from __future__ import annotations

import math

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.monitoring import Observed, Window
from mlsecops.monitoring.baseline_detector import BaselineDetector
from mlsecops.monitoring.telemetry import metrics as telemetry
from mlsecops.monitoring.telemetry.exporter import series_of
from tests.digits import Digits


def observed(
    digits: Digits, rows: np.ndarray, *, at: float = 0.0, answers: object = None
) -> Observed:
    known = digits.predict(rows) if answers is None else np.asarray(answers)
    return Observed(
        rows=rows,
        probabilities=known,
        clients=(None,) * len(rows),
        at=np.full(len(rows), at),
    )


def chosen(digits: Digits, seed: int, rows: int = 128) -> np.ndarray:
    return digits.fresh[np.random.default_rng(seed).choice(len(digits.fresh), rows)]


def test_answers_drift_alone_when_the_inputs_are_as_ever(digits: Digits) -> None:
    watch = BaselineDetector(digits.baseline, series_of("answers"))
    for seed in range(4):
        rows = chosen(digits, seed)
        flat = 0.3 * digits.predict(rows) + 0.07
        readings = watch.observe(observed(digits, rows, answers=flat))
    drifted = [each.value for each in readings if each.metric is telemetry.DRIFTED_PREDICTIONS]
    assert watch.drift is not None
    assert watch.drift.drifted == ()
    assert drifted == [1.0]


def test_answers_that_are_surer_than_usual_are_a_lasting_shift(digits: Digits) -> None:
    watch = BaselineDetector(digits.baseline, series_of("surer"))
    for seed in range(20):
        usual = watch.observe(observed(digits, chosen(digits, seed)))
        assert all(each.metric is not telemetry.CONFIDENCE_CHANGES for each in usual)
    rows = chosen(digits, 99)
    certain = np.eye(10)[digits.predict(rows).argmax(axis=1)]
    readings = watch.observe(observed(digits, rows, answers=certain))
    assert telemetry.CONFIDENCE_CHANGES in [each.metric for each in readings]
    assert watch.confidence is not None
    assert digits.baseline.confidence is not None
    assert (
        watch.confidence > digits.baseline.confidence
    )  # the rule on low confidence is blind to it


def test_accuracy_to_expect_of_recent_answers_is_close_to_the_real_one(digits: Digits) -> None:
    watch = BaselineDetector(digits.baseline, series_of("expected"), window=Window(rows=100_000))
    watch.observe(observed(digits, digits.fresh))
    real = (digits.predict(digits.fresh).argmax(axis=1) == digits.labels).mean()
    assert watch.expected_accuracy == pytest.approx(real, abs=0.03)


def test_a_window_by_count_forgets_what_lies_further_back(digits: Digits) -> None:
    watch = BaselineDetector(digits.baseline, series_of("count"), window=Window(rows=128))
    for seed in range(3):
        watch.observe(observed(digits, 16 - chosen(digits, seed, 64)))
    assert watch.drift is not None
    assert watch.drift.drifted
    for seed in range(4):
        watch.observe(observed(digits, chosen(digits, seed, 64)))
    assert watch.drift.drifted == ()
    assert watch.drift.rows <= 128 + 32


def test_a_window_by_time_forgets_what_is_old_however_few_came_since(digits: Digits) -> None:
    window = Window(rows=10_000, seconds=60)
    watch = BaselineDetector(digits.baseline, series_of("time"), window=window)
    for at in range(0, 60, 5):
        watch.observe(observed(digits, 16 - chosen(digits, at, 32), at=float(at)))
    assert watch.drift is not None
    assert watch.drift.drifted
    for at in range(200, 260, 5):
        watch.observe(observed(digits, chosen(digits, at, 32), at=float(at)))
    assert watch.drift.drifted == ()
    assert watch.drift.rows <= 12 * 32


@pytest.mark.parametrize(
    "wrong", [{"rows": 10}, {"rows": 10**7}, {"seconds": 0}, {"seconds": math.nan}]
)
def test_windows_that_hold_nothing_or_too_much_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="window"):
        Window(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_infinite_values_are_counted_alike_in_small_and_large_batches(digits: Digits) -> None:
    rng = np.random.default_rng(0)
    rows = rng.choice([np.inf, -np.inf, np.nan, 0.0, 1.0, 16.0], size=(600, 64))
    layout = digits.baseline.layout
    whole, missing = layout.bin(rows)
    parts = [layout.bin(part) for part in np.array_split(rows, 7)]
    assert (sum(counts for counts, _ in parts) == whole).all()
    assert (sum(gaps for _, gaps in parts) == missing).all()


def test_a_burst_in_the_middle_of_a_long_batch_is_seen(digits: Digits) -> None:
    watch = BaselineDetector(digits.baseline, series_of("burst"))
    rows = chosen(digits, 0, 2100)
    rows[900:1100] = 16 - rows[900:1100]
    readings = watch.observe(observed(digits, rows))
    shares = [each.value for each in readings if each.metric is telemetry.ANOMALY_RATIO]
    assert max(shares) > 0.4
    assert shares[-1] < 0.15


@pytest.mark.parametrize(("first", "drifts"), [(0, False), (1700, True)])
def test_a_long_batch_is_compared_by_its_last_window(
    digits: Digits, first: int, *, drifts: bool
) -> None:
    watch = BaselineDetector(digits.baseline, series_of("long"))
    rows = chosen(digits, 1, 2000)
    rows[first : first + 300] = 16 - rows[first : first + 300]
    watch.observe(observed(digits, rows))
    assert watch.drift is not None
    assert watch.drift.rows == 256
    assert bool(watch.drift.drifted) == drifts
    assert watch.profile is not None
    assert watch.profile.count == 2000
