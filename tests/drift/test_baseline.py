from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from mlsecops import Signer, TrustPolicy, sign
from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import (
    ContentRefused,
    DigestMismatch,
    FormatRefused,
    SignatureMissing,
    UsageError,
    VerificationError,
)
from mlsecops.monitoring import Baseline, Profile
from tests.attackers.drift import flipped, forged, wrapped_counts
from tests.digits import Digits


def table(seed: int, rows: int = 1500) -> np.ndarray:
    """A normal, a constant, a coded, a gappy and a heavy-tailed feature."""
    rng = np.random.default_rng(seed)
    columns = np.column_stack(
        [
            rng.normal(size=rows),
            np.full(rows, 3.0),
            rng.integers(0, 4, rows),
            np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            rng.standard_cauchy(rows),
        ]
    )
    columns[0, 4] = np.inf
    return columns


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.fit(table(0), None, categorical=["f2"])


def test_a_baseline_prints_itself_without_the_values_it_keeps() -> None:
    told = repr(Baseline.fit(np.full((50, 2), 0.123456), None))
    assert told == "Baseline(rows=50, names=<2 items>, shape=(2), labels=0)"


def test_same_distribution_has_no_drifted_feature(baseline: Baseline) -> None:
    for seed in range(1, 11):
        assert baseline.drift(table(seed)).drifted == ()


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("f0", lambda c: c + 0.3),
        ("f1", lambda c: c + 1),
        ("f2", lambda c: np.where(c == 0, 1, c)),
        ("f3", lambda c: np.where(np.arange(len(c)) % 3 == 0, np.nan, c)),
        ("f4", lambda c: np.where(np.arange(len(c)) % 5 == 0, np.inf, c)),
    ],
)
def test_only_the_changed_feature_drifts(baseline: Baseline, feature: str, change: object) -> None:
    rows = table(1)
    place = baseline.names.index(feature)
    rows[:, place] = change(rows[:, place])  # type: ignore[operator] # a lambda of the table above
    assert baseline.drift(rows).drifted == (feature,)
    assert baseline.drift(baseline.profile().update(rows)).drifted == (feature,)
    assert baseline.drift(rows).features[feature].psi > 0.05


def test_ks_and_p_value_agree_with_scipy() -> None:
    reference, rows = table(0)[:, :1], table(1)[:, :1] + 0.05
    reading = Baseline.fit(reference, None).drift(rows).features["f0"]
    expected = ks_2samp(reference[:, 0], rows[:, 0], method="asymp")
    assert reading.ks == pytest.approx(expected.statistic, abs=1e-12)
    assert reading.p_value == pytest.approx(expected.pvalue, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 400), st.floats(-2, 2), st.integers(0, 1))
def test_profile_is_within_its_stated_bound_of_the_exact_distance(
    seed: int, size: int, shift: float, rounded: int
) -> None:
    rng = np.random.default_rng(seed)
    reference, rows = rng.normal(size=(500, 1)), rng.normal(shift, size=(size, 1))
    if rounded:
        reference, rows = reference.round(1), rows.round(1)
    baseline = Baseline.fit(reference, None)
    exact = baseline.drift(rows).features["f0"].ks
    counted = baseline.drift(baseline.profile().update(rows)).features["f0"]
    assert counted.ks - 1e-9 <= exact <= counted.ks + counted.error_bound + 1e-9


def test_features_with_few_values_are_counted_exactly(baseline: Baseline) -> None:
    reading = baseline.drift(baseline.profile().update(table(3)))
    assert reading.features["f1"].error_bound == reading.features["f2"].error_bound == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_merged_profiles_equal_the_profile_of_all_rows(sizes: list[int]) -> None:
    baseline = Baseline.fit(table(0), None)
    rows = table(7, sum(sizes))
    merged = baseline.profile()
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        merged.merge(Profile.from_bytes(baseline.profile().update(part).to_bytes()))
    whole = baseline.profile().update(rows)
    assert merged.count == whole.count == len(rows)
    assert (merged.counts == whole.counts).all()
    assert (merged.missing == whole.missing).all()


def test_profiles_of_another_baseline_are_refused(baseline: Baseline) -> None:
    other = Baseline.fit(table(0) * 2, None).profile().update(table(1))
    with pytest.raises(UsageError, match="bins"):
        baseline.drift(other)
    with pytest.raises(UsageError, match="merged"):
        baseline.profile().merge(other)


def test_baseline_survives_save_and_load(baseline: Baseline, tmp_path: Path) -> None:
    loaded = Baseline.load(baseline.save(tmp_path / "b"))
    assert loaded.drift(table(1)).to_dict() == baseline.drift(table(1)).to_dict()
    assert (loaded.anomalies.thresholds == baseline.anomalies.thresholds).all()
    assert b"pickle" not in (tmp_path / "b").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20))
def test_every_flipped_bit_of_a_profile_is_refused(place: int) -> None:
    data = Baseline.fit(table(0, 50), None).profile().update(table(1, 50)).to_bytes()
    with pytest.raises(FormatRefused):
        Profile.from_bytes(flipped(data, place))


@pytest.mark.parametrize("data", [b"", b"MLSOPS1\n", b"\x80\x04.", b"PK\x03\x04" * 30])
def test_other_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(ContentRefused):
        Baseline.load(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["arrays"][0].__setitem__(2, [2**40, 2**40]),
        lambda h: h["arrays"][0].__setitem__(2, [-1, -5]),
        lambda h: h["arrays"][0].__setitem__(1, "|O"),
        lambda h: h["arrays"].pop(),
        lambda h: h["facts"].__setitem__("names", ["a"]),
        lambda h: h["facts"]["schema"].__setitem__("shape", [10**9]),
        lambda h: h["facts"]["schema"].__setitem__("columns", [["a", {"kind": "code"}]]),
        lambda h: h["facts"].__setitem__("answers", {"kind": "classes", "labels": 10**9}),
        lambda h: h["facts"].__setitem__("rows", {}),
        lambda h: h.__setitem__("kind", "profile"),
        lambda h: h.__setitem__("facts", None),
    ],
)
def test_forged_baselines_with_a_fitting_checksum_are_refused(
    change: object, baseline: Baseline, tmp_path: Path
) -> None:
    path = baseline.save(tmp_path / "b")
    path.write_bytes(forged(path.read_bytes(), change))  # type: ignore[arg-type] # a lambda of the table above
    with pytest.raises(FormatRefused):
        Baseline.load(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([["a", "|O", [1]]], "unknown dtype"),
        ([["a", "<f8", [-1]]], "unknown dtype or shape"),
        ([["a", "<f8", [1] * 40]], "unknown dtype or shape"),
        ([["a", "<f8", [3]]], "longer than the file"),
        ([["a", "<f8", [2**70]]], "longer than the file"),
        ([["a", "<f8", [1]]], "8 bytes follow"),
        ([], "16 bytes follow"),
    ],
)
def test_arrays_must_fill_the_file_exactly(table: list[object], message: str) -> None:
    data = pack("k", {}, {"a": np.zeros(2)})
    with pytest.raises(FormatRefused, match=message):
        unpack(forged(data, lambda h: h.__setitem__("arrays", table)), "k", where="w")


def test_forged_counts_that_do_not_add_up_are_refused(baseline: Baseline) -> None:
    data = baseline.profile().update(table(1)).to_bytes()
    with pytest.raises(FormatRefused, match="add up"):
        Profile.from_bytes(forged(data, lambda h: h["facts"].__setitem__("count", 7)))


def test_file_larger_than_the_limit_is_refused_before_it_is_parsed(
    baseline: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = baseline.save(tmp_path / "b")
    monkeypatch.setattr("mlsecops.drift.array_files.MAX_BYTES", 100)
    with pytest.raises(ContentRefused, match="at most 100 bytes"):
        Baseline.load(path)


def test_anomaly_thresholds_hold_the_declared_rate_on_new_rows() -> None:
    rng = np.random.default_rng(0)
    baseline = Baseline.fit(rng.normal(size=(6000, 8)), None, false_positive_rate=0.02)
    flags = baseline.anomalies.flags(rng.normal(size=(20_000, 8)), None)
    assert 0.01 < flags["reconstruction"].mean() < 0.03
    assert flags["range"].mean() < 0.03


def test_anomalies_flag_rows_outside_the_range_and_off_the_components() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(3000, 2))
    rows = np.column_stack([hidden, hidden @ [[1.0], [1.0]]])
    anomalies = Baseline.fit(rows, None).anomalies
    far, off = np.array([[30.0, 0, 30]]), np.array([[1.0, 1.0, -2.0]])
    assert anomalies.flags(far, None)["range"].all()
    assert not anomalies.flags(off, None)["range"].any()
    assert anomalies.flags(off, None)["reconstruction"].all()
    assert anomalies.flags(np.array([[np.nan, 0, 0]]), None)["range"].all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": np.ones((1, 3)), "probabilities": None},
        {"x": [[1j, 2j], [3j, 4j]], "probabilities": None},
        {"x": np.ones((5, 3)), "probabilities": np.full((5, 2), 7.0)},
        {"x": np.ones((5, 3)), "predictions": np.ones(4)},
        {"x": np.ones((5, 3)), "predictions": np.ones(5), "probabilities": np.full(5, 0.5)},
        {"x": np.ones((5, 3)), "time": np.arange(4)},
        {"x": np.ones((5, 3)), "time": "when"},
        {"x": np.ones((5, 3)), "dates": "drop"},
        {"x": np.ones((5, 3)), "probabilities": np.ones((4, 2))},
        {"x": np.ones((5, 3)), "probabilities": None, "names": ["a", "a", "b"]},
        {"x": np.ones((5, 3)), "probabilities": None, "categorical": ["nope"]},
    ],
)
def test_wrong_arguments_are_the_callers_fault(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Baseline.fit(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_counts_that_pass_the_end_of_their_type_are_refused(baseline: Baseline) -> None:
    data = baseline.profile().update(table(1)).to_bytes()
    with pytest.raises(FormatRefused, match="do not add up"):
        Profile.from_bytes(wrapped_counts(data))


def test_an_infinite_count_is_refused(baseline: Baseline) -> None:
    data = baseline.profile().update(table(1)).to_bytes()
    with pytest.raises(FormatRefused):
        Profile.from_bytes(forged(data, lambda header: header["facts"].update(count=math.inf)))


def test_all_rows_of_a_large_table_are_compared_by_default() -> None:
    rng = np.random.default_rng(0)
    reference, rows = rng.normal(size=(60_000, 2)), rng.normal(0.02, size=(5000, 2))
    baseline = Baseline.fit(reference, None)
    expected = ks_2samp(reference[:, 0], rows[:, 0], method="asymp").statistic
    assert baseline.drift(rows).features["f0"].ks == pytest.approx(expected, abs=1e-12)
    assert Baseline.fit(reference, None, keep=500).inputs.sample.shape == (2, 500)


def test_answers_that_shift_are_named_apart_from_the_inputs(digits: Digits) -> None:
    baseline, answers = digits.baseline, digits.predict(digits.fresh)
    assert baseline.prediction_drift(answers).drifted == ()
    unsure = 0.5 * answers + 0.05
    assert baseline.prediction_drift(unsure).drifted == ("prediction.confidence",)
    one = answers[answers.argmax(axis=1) == 3]
    assert "prediction.class" in baseline.prediction_drift(one).drifted


def test_replicas_merge_what_they_answered(digits: Digits) -> None:
    baseline, answers = digits.baseline, digits.predict(digits.fresh)
    merged = baseline.prediction_profile()
    for part in np.array_split(answers, 4):
        own = baseline.prediction_profile().update(baseline.prediction_table(part))
        merged.merge(Profile.from_bytes(own.to_bytes()))
    exact = baseline.prediction_drift(answers).features["prediction.confidence"]
    found = baseline.prediction_drift(merged).features["prediction.confidence"]
    assert found.ks - 1e-9 <= exact.ks <= found.ks + found.error_bound + 1e-9


def test_a_baseline_without_answers_says_so(baseline: Baseline) -> None:
    with pytest.raises(UsageError, match="expected answers"):
        baseline.prediction_drift(np.ones((5, 2)) / 2)


def test_answers_of_another_number_of_classes_are_refused(digits: Digits) -> None:
    with pytest.raises(UsageError, match=r"\(n, 10\)"):
        digits.baseline.prediction_drift(np.ones((5, 3)) / 3)


def test_signed_baseline_is_loaded_through_a_policy(digits: Digits, tmp_path: Path) -> None:
    signer, stranger = Signer.generate("p256"), Signer.generate("p256")
    path = digits.baseline.save(tmp_path / "digits.baseline")
    sign(path, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    assert Baseline.load(path, policy=policy).accuracy == digits.baseline.accuracy
    with pytest.raises(VerificationError):
        Baseline.load(path, policy=TrustPolicy(keys=[stranger.public_key]))


def test_baseline_that_was_replaced_after_signing_is_refused(
    digits: Digits, tmp_path: Path
) -> None:
    signer = Signer.generate("p256")
    path = digits.baseline.save(tmp_path / "digits.baseline")
    sign(path, signer)
    Baseline.fit(digits.fresh, digits.predict(digits.fresh)).save(path)
    policy = TrustPolicy(keys=[signer.public_key])
    with pytest.raises(DigestMismatch):
        Baseline.load(path, policy=policy)
    (tmp_path / "digits.baseline.sig").unlink()
    with pytest.raises(SignatureMissing):
        Baseline.load(path, policy=policy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("predictions.sample", np.array([[0.1, 0.2], [0.0, 99.0]])),
        ("predictions.sample", np.array([[0.1, np.nan], [0.0, 1.0]])),
        ("predictions.sample", np.empty((2, 0))),
        ("predictions.edges", np.zeros((3, 4))),
        ("sample", np.full((64, 3), [np.nan, 1.0, 2.0])),
        ("sample", np.full((64, 3), [2.0, 1.0, 3.0])),
        ("sample", np.full((64, 3), [1.0, 2.0, 3.0], dtype=np.float32)),
        ("sample", np.full((63, 3), [1.0, 2.0, 3.0])),
    ],
)
def test_forged_distributions_are_refused(
    name: str, value: np.ndarray, digits: Digits, tmp_path: Path
) -> None:
    path = digits.baseline.save(tmp_path / "b")
    facts, arrays = unpack(path.read_bytes(), "baseline", where="b")
    path.write_bytes(pack("baseline", facts, {**arrays, name: value}))
    with pytest.raises(FormatRefused):
        Baseline.load(path)
