from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.monitoring import Baseline


def drawn(seed: int, rows: int, *, correlation: float = 0.0, features: int = 4) -> np.ndarray:
    table = np.random.default_rng(seed).normal(size=(rows, features))
    table[:, 1] = correlation * table[:, 0] + np.sqrt(1 - correlation**2) * table[:, 1]
    return table


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.fit(drawn(0, 5000), None)


def test_features_that_became_correlated_are_found_though_none_drifted(baseline: Baseline) -> None:
    for seed in range(1, 9):
        rows = drawn(seed, 1000, correlation=0.6)
        assert baseline.drift(rows).drifted == ()
        assert baseline.joint_drift(rows).drifted


@pytest.mark.parametrize("rows", [64, 500, 3000])
def test_false_verdicts_come_at_the_declared_rate(baseline: Baseline, rows: int) -> None:
    verdicts = [
        baseline.joint_drift(drawn(seed, rows), alpha=0.05, seed=seed).drifted
        for seed in range(100, 300)
    ]
    # 200 windows at 5 %: 22 or more have a probability under one in a thousand.
    assert 0 < sum(verdicts) < 22


def test_missing_and_infinite_values_are_borne(baseline: Baseline) -> None:
    rows = drawn(1, 800)
    rows[::2] = np.nan
    assert baseline.joint_drift(rows).drifted
    rows = drawn(1, 800)
    rows[::3, 0] = np.inf
    found = baseline.joint_drift(rows)
    assert found.drifted
    assert np.isfinite(found.mmd)


def test_constant_features_do_not_drift_from_themselves() -> None:
    constant = np.full((50, 3), 7.0)
    baseline = Baseline.fit(constant, None)
    assert not baseline.joint_drift(constant).drifted
    assert baseline.joint_drift(constant + 1).drifted


def test_joint_distribution_survives_save_and_load(baseline: Baseline, tmp_path: Path) -> None:
    loaded = Baseline.load(baseline.save(tmp_path / "b"))
    rows = drawn(1, 500)
    assert loaded.joint_drift(rows) == baseline.joint_drift(rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("joint.mean", np.zeros(3)),
        ("joint.mean", np.full(256, np.nan)),
        ("joint.frequencies", np.zeros((9, 128))),
        ("joint.facts", np.array([0.0, 1.0, 1.0])),
        ("joint.facts", np.array([5.0, -1.0, 1.0])),
    ],
)
def test_forged_embeddings_are_refused(
    name: str, value: np.ndarray, baseline: Baseline, tmp_path: Path
) -> None:
    path = baseline.save(tmp_path / "b")
    facts, arrays = unpack(path.read_bytes(), "baseline", where="b")
    path.write_bytes(pack("baseline", facts, {**arrays, name: value}))
    with pytest.raises(FormatRefused, match="embedding"):
        Baseline.load(path)


def test_wrong_use_is_the_callers_fault(baseline: Baseline) -> None:
    with pytest.raises(UsageError, match="at least one row"):
        baseline.joint_drift(np.empty((0, 4)))
    with pytest.raises(UsageError, match="shape"):
        baseline.joint_drift(np.ones((5, 9)))
    with pytest.raises(UsageError, match="rate"):
        baseline.joint_drift(np.ones((5, 4)), alpha=0)
