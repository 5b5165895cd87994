from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.errors import UsageError
from mlsecops.monitoring import Adwin, Cusum, PageHinkley


def hits(seed: int, rows: int, rate: float) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < rate).astype(float)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), max_size=200), st.integers(1, 50))
def test_cusum_in_batches_equals_cusum_one_by_one(values: list[float], size: int) -> None:
    batched = Cusum(0, 1, threshold=1e9)
    for place in range(0, len(values), size):
        batched.update(values[place : place + size])
    above = below = 0.0
    for value in values:
        above, below = max(0.0, above + value - 0.5), max(0.0, below - value - 0.5)
    assert batched.evidence == pytest.approx(max(above, below) / 1e9, abs=1e-12)


@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_cusum_finds_a_lasting_shift_to_either_side_within_sixty_values(shift: float) -> None:
    rng = np.random.default_rng(0)
    cusum = Cusum(3.0, 2.0)
    assert not cusum.update(rng.normal(3, 2, 20_000))
    assert cusum.update(rng.normal(3 + 2 * shift, 2, 60))
    assert not cusum.update(rng.normal(3, 2, 60))  # it started anew


def test_cusum_lets_a_shift_below_the_allowance_pass() -> None:
    rng = np.random.default_rng(0)
    assert not Cusum(0, 1).update(rng.normal(0.2, 1, 50_000))


def test_page_hinkley_finds_a_change_of_a_mean_that_it_was_not_told() -> None:
    rng = np.random.default_rng(0)
    detector = PageHinkley(tolerance=0.5, threshold=20)
    assert not detector.update(rng.normal(7, 1, 20_000))
    assert detector.update(rng.normal(5, 1, 40))
    assert not detector.update(rng.normal(5, 1, 2000))


@pytest.mark.parametrize(("drop", "within"), [(0.1, 1500), (0.2, 400), (0.4, 120)])
def test_adwin_finds_a_drop_and_forgets_what_was_before(drop: float, within: int) -> None:
    adwin = Adwin(delta=1e-4)
    assert not adwin.update(hits(0, 2000, 0.9))
    assert adwin.update(hits(1, within, 0.9 - drop))
    adwin.update(hits(2, 4000, 0.9 - drop))
    assert adwin.mean == pytest.approx(0.9 - drop, abs=0.04)


def test_adwin_raises_no_false_alarm_in_a_hundred_thousand_steady_values() -> None:
    assert not any(Adwin(delta=1e-4).update(hits(seed, 5000, 0.9)) for seed in range(20))


def test_adwin_keeps_few_numbers_however_long_the_stream() -> None:
    adwin = Adwin()
    adwin.update(np.full(20_000, 1.0))
    assert adwin.count == 20_000
    assert sum(len(level) for level in adwin._levels) < 6 * 15


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Cusum(0, 0),
        lambda: Cusum(0, 1, threshold=0),
        lambda: Cusum(0, float("nan")),
        lambda: PageHinkley(threshold=0),
        lambda: Adwin(delta=0),
        lambda: Adwin(delta=1),
    ],
)
def test_wrong_settings_are_the_callers_fault(wrong: object) -> None:
    with pytest.raises(UsageError, match="expected"):
        wrong()  # type: ignore[operator] # a lambda of the table above
