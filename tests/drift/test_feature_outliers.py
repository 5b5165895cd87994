from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlsecops import Signer, TrustPolicy, sign
from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import DigestMismatch, FormatRefused, UsageError
from mlsecops.findings import Alert
from mlsecops.monitoring import FeatureAnomalies, monitored
from tests.attackers.drift import forged

FPR = 0.02


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 16).astype(np.float32), y[order]


@pytest.fixture(scope="module")
def network(data: tuple[np.ndarray, np.ndarray]) -> torch.nn.Module:
    x, y = data
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-4)
    given, wanted = torch.tensor(x[:500]), torch.tensor(y[:500])
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(given), wanted)
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def detector(data: tuple[np.ndarray, np.ndarray], network: torch.nn.Module) -> FeatureAnomalies:
    return FeatureAnomalies.fit(
        data[0][500:1100], model=network, false_positive_rate=FPR, sample=1.0
    )


def any_flag(detector: FeatureAnomalies, x: np.ndarray) -> float:
    return float(np.any(list(detector.flags(x).values()), axis=0).mean())


def test_each_score_keeps_its_declared_rate_on_fresh_inputs(
    detector: FeatureAnomalies, data: tuple[np.ndarray, np.ndarray]
) -> None:
    fresh = data[0][1100:]
    assert set(detector.thresholds) == {"energy", "mahalanobis", "neighbours"}
    for name, flags in detector.flags(fresh).items():
        assert flags.mean() < FPR + 4 * np.sqrt(FPR * (1 - FPR) / 200), name


def test_inputs_unlike_digits_are_strange_in_the_model_s_features(
    detector: FeatureAnomalies, data: tuple[np.ndarray, np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    fresh = data[0][1100:1400]
    assert any_flag(detector, rng.uniform(0, 1, (300, 64))) > 0.8
    assert any_flag(detector, 1 - fresh) > 0.8
    assert any_flag(detector, fresh) < 0.12


def test_no_score_wins_everywhere(
    detector: FeatureAnomalies, data: tuple[np.ndarray, np.ndarray]
) -> None:
    """Why each is reported: bright digits have far features, blended ones weak logits."""
    fresh = data[0][1100:1400]
    bright, blended = detector.flags(1.5 * fresh), detector.flags((fresh + fresh[::-1]) / 2)
    assert bright["mahalanobis"].mean() > bright["energy"].mean() + 0.5
    assert blended["energy"].mean() > blended["mahalanobis"].mean() + 0.05


def test_the_model_is_left_as_it_was(
    data: tuple[np.ndarray, np.ndarray], network: torch.nn.Module
) -> None:
    before = {name: each.clone() for name, each in network.state_dict().items()}
    network.train()
    FeatureAnomalies.fit(data[0][:100], model=network).scores(data[0][:10])
    assert network.training
    assert all((each == before[name]).all() for name, each in network.state_dict().items())


def test_models_without_features_or_logits_fall_back_on_the_inputs(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = data
    model = LogisticRegression(max_iter=500).fit(x[:500], y[:500])
    for given in (model, None):
        detector = FeatureAnomalies.fit(x[500:1100], model=given)
        assert set(detector.thresholds) == {"mahalanobis", "neighbours"}
        assert any_flag(detector, np.random.default_rng(0).uniform(0, 1, (100, 64))) > 0.9


def test_infinities_and_missing_values_are_strangest(detector: FeatureAnomalies) -> None:
    rows = np.zeros((3, 64))
    rows[0, 0], rows[1, 5], rows[2, 9] = np.inf, np.nan, -np.inf
    assert all(flags.all() for flags in detector.flags(rows).values())


def test_strange_traffic_raises_the_alert_about_inputs(
    data: tuple[np.ndarray, np.ndarray], network: torch.nn.Module
) -> None:
    detector = FeatureAnomalies.fit(data[0][500:1100], model=network, sample=1.0)
    alerts: list[Alert] = []
    serve = monitored("inside", detectors=[detector], sinks=[alerts.append])(len)
    for row in data[0][1100:1400]:
        serve(row[None])
    serve.monitor.flush(10)
    assert alerts == []
    for row in 1 - data[0][1100:1300]:
        serve(row[None])
    serve.monitor.flush(10)
    assert [alert.rule for alert in alerts] == ["input-anomaly"]
    assert "Input anomaly in features" in serve.monitor.controls
    serve.monitor.close()


def test_wrong_use_is_the_callers_fault(detector: FeatureAnomalies) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    for wrong, message in (
        (lambda: FeatureAnomalies.fit(x[:20]), "30 or more"),
        (lambda: FeatureAnomalies.fit(np.where(x > 2, np.nan, x)), "finite"),
        (lambda: FeatureAnomalies.fit(x, sample=0), "sample"),
        (lambda: FeatureAnomalies.fit(x, np.zeros(3)), "labels"),
        (lambda: FeatureAnomalies.fit(x, false_positive_rate=2), "rate"),
        (lambda: detector.scores(x), "expected shape"),
    ):
        with pytest.raises(UsageError, match=message):
            wrong()


def test_a_saved_detector_scores_as_before(
    detector: FeatureAnomalies,
    network: torch.nn.Module,
    data: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    again = FeatureAnomalies.load(detector.save(tmp_path / "f"), model=network)
    assert again.thresholds == detector.thresholds
    for name, scores in detector.scores(data[0][1100:]).items():
        assert (again.scores(data[0][1100:])[name] == scores).all()
    alone = FeatureAnomalies.fit(data[0][:300])
    kept = FeatureAnomalies.load(alone.save(tmp_path / "alone"))
    assert (kept.flags(data[0])["mahalanobis"] == alone.flags(data[0])["mahalanobis"]).all()


def test_a_saved_detector_takes_no_other_model(
    detector: FeatureAnomalies, network: torch.nn.Module, tmp_path: Path
) -> None:
    path = detector.save(tmp_path / "f")
    other = copy.deepcopy(network)
    with torch.no_grad():
        next(iter(other.parameters())).mul_(1.05)
    narrow = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for wrong, message in (
        (other, "not those"),
        (narrow, "model: its features are not those"),
        (None, "needs the model"),
    ):
        with pytest.raises(UsageError, match=message):
            FeatureAnomalies.load(path, model=wrong)
    alone = FeatureAnomalies.fit(np.random.default_rng(0).normal(size=(50, 64)))
    with pytest.raises(UsageError, match="needs no model"):
        FeatureAnomalies.load(alone.save(tmp_path / "alone"), model=network)


def test_a_detector_is_loaded_as_it_was_signed_or_not_at_all(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    signer = Signer.generate("p256")
    policy = TrustPolicy(keys=[signer.public_key])
    path = FeatureAnomalies.fit(data[0][:300]).save(tmp_path / "f")
    sign(path, signer)
    FeatureAnomalies.load(path, policy=policy)
    FeatureAnomalies.fit(data[0][300:700]).save(path)
    with pytest.raises(DigestMismatch):
        FeatureAnomalies.load(path, policy=policy)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["facts"].__setitem__("shape", [10**9]),
        lambda h: h["facts"].__setitem__("shape", [0]),
        lambda h: h["facts"].__setitem__("sample", 7),
        lambda h: h["facts"].__setitem__("sample", None),
        lambda h: h["facts"].__setitem__("scores", ["energy", "neighbours"]),
        lambda h: h["facts"].__setitem__("scores", ["mahalanobis"]),
        lambda h: h["facts"].pop("model"),
        lambda h: h["arrays"][0].__setitem__(1, "|O"),
        lambda h: h.__setitem__("kind", "baseline"),
    ],
)
def test_forged_detectors_with_a_fitting_checksum_are_refused(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4))
    path = FeatureAnomalies.fit(rows).save(tmp_path / "f")
    path.write_bytes(forged(path.read_bytes(), change))
    with pytest.raises(FormatRefused):
        FeatureAnomalies.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whitening", np.full((4, 4), np.nan)),
        ("whitening", np.eye(3)),
        ("kept", np.zeros((0, 4))),
        ("means", np.zeros((1, 4), dtype=np.float32)),
        ("thresholds", np.array([np.nan, 1.0])),
        ("probe", np.zeros((4, 5))),
    ],
)
def test_forged_arrays_of_a_detector_are_refused(
    name: str, value: np.ndarray, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 4))
    path = FeatureAnomalies.fit(rows).save(tmp_path / "f")
    facts, arrays = unpack(path.read_bytes(), "feature-anomalies", where="f")
    path.write_bytes(pack("feature-anomalies", facts, {**arrays, name: value}))
    with pytest.raises(FormatRefused):
        FeatureAnomalies.load(path)
