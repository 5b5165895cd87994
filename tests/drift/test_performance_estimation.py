from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.monitoring import Baseline, Calibration
from tests.digits import Digits

Floats = np.ndarray
TRUE = np.array([[1.0, -1.0, 0.3], [0.4, 0.9, -1.2]])


def drawn(seed: int, rows: int, center: float) -> tuple[Floats, Floats]:
    """Inputs around a centre, and labels that follow from the inputs alone."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2)) + center
    z = 1.5 * x @ TRUE
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return x, (p.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)


def overconfident(x: Floats) -> Floats:
    """A model that is right about the classes, and far too sure."""
    z = 4.0 * x @ TRUE
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def accuracy(x: Floats, y: Floats) -> float:
    return float((overconfident(x).argmax(axis=1) == y).mean())


def test_accuracy_under_covariate_shift_is_estimated_within_two_points() -> None:
    known, labels = drawn(0, 6000, 0.0)
    calibration = Calibration.fit(overconfident(known), labels)
    reference = accuracy(known, labels)
    for seed, center in enumerate((-2.0, -1.0, 1.0, 2.0), start=1):
        x, y = drawn(seed, 20_000, center)
        estimate = calibration.estimate(overconfident(x))
        assert abs(estimate.accuracy - accuracy(x, y)) < 0.02
        assert overconfident(x).max(axis=1).mean() - accuracy(x, y) > 0.04  # what it had to mend
        if abs(center) > 1.5:
            assert abs(reference - accuracy(x, y)) > 0.05


def test_expected_confusion_adds_up_and_agrees_with_the_real_one() -> None:
    known, labels = drawn(0, 6000, 0.0)
    x, y = drawn(5, 20_000, 0.8)
    answers = overconfident(x)
    estimate = Calibration.fit(overconfident(known), labels).estimate(answers)
    assert estimate.confusion.sum() == pytest.approx(estimate.rows)
    assert estimate.confusion.trace() == pytest.approx(estimate.rows * estimate.accuracy)
    real = np.zeros((3, 3))
    np.add.at(real, (y, answers.argmax(axis=1)), 1)
    assert np.abs(estimate.precision - real.diagonal() / real.sum(axis=0)).max() < 0.03
    assert np.abs(estimate.recall - real.diagonal() / real.sum(axis=1)).max() < 0.05


def test_standard_error_covers_the_chance_of_a_small_window() -> None:
    known, labels = drawn(0, 20_000, 0.0)
    calibration = Calibration.fit(overconfident(known), labels)
    inside = []
    for seed in range(1, 101):
        x, y = drawn(seed, 200, 0.0)
        estimate = calibration.estimate(overconfident(x))
        inside.append(abs(estimate.accuracy - accuracy(x, y)) < 2 * estimate.error)
    assert np.mean(inside) > 0.9


def test_concept_drift_is_not_seen_without_labels() -> None:
    """What stands in the documentation as a limit."""
    known, labels = drawn(0, 6000, 0.0)
    x, y = drawn(1, 6000, 0.0)
    estimate = Calibration.fit(overconfident(known), labels).estimate(overconfident(x))
    turned = (y + 1) % 3
    assert estimate.accuracy - accuracy(x, turned) > 0.3


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_classes_without_rows_and_certain_answers_are_borne(classes: int) -> None:
    rng = np.random.default_rng(0)
    answers = np.eye(classes)[rng.integers(0, 2, 300)]
    labels = answers.argmax(axis=1) ^ (rng.random(300) < 0.2)
    calibration = Calibration.fit(answers, labels)
    estimate = calibration.estimate(answers)
    assert estimate.accuracy == pytest.approx((labels == answers.argmax(axis=1)).mean(), abs=0.02)
    assert np.isfinite(estimate.confusion).all()
    assert np.isfinite(calibration.right(np.eye(classes))).all()


def test_baseline_with_labels_estimates_also_after_save_and_load(
    digits: Digits, tmp_path: Path
) -> None:
    answers = digits.predict(digits.fresh)
    estimate = digits.baseline.estimate(answers)
    real = float((answers.argmax(axis=1) == digits.labels).mean())
    assert abs(estimate.accuracy - real) < 0.03
    loaded = Baseline.load(digits.baseline.save(tmp_path / "b"))
    assert loaded.estimate(answers).accuracy == estimate.accuracy


@pytest.mark.parametrize("value", [np.zeros((10, 2)), np.full((10, 11), np.nan)])
def test_forged_calibrations_are_refused(value: np.ndarray, digits: Digits, tmp_path: Path) -> None:
    path = digits.baseline.save(tmp_path / "b")
    facts, arrays = unpack(path.read_bytes(), "baseline", where="b")
    path.write_bytes(pack("baseline", facts, {**arrays, "calibration": value}))
    with pytest.raises(FormatRefused, match="calibration"):
        Baseline.load(path)


def test_wrong_use_is_the_callers_fault(digits: Digits) -> None:
    answers = digits.predict(digits.fresh)
    with pytest.raises(UsageError, match="knows no labels"):
        Baseline.fit(digits.known, None).estimate(answers)
    with pytest.raises(UsageError, match=r"expected \(n, 10\)"):
        digits.baseline.estimate(answers[:, :3])
    with pytest.raises(UsageError, match="at least one"):
        digits.baseline.estimate(np.empty((0, 10)))
    with pytest.raises(UsageError, match="labels"):
        Calibration.fit(answers, np.zeros(3))
