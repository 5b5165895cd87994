from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.poisoning import DatasetBaseline, screen_dataset
from tests.attackers.poisoning import digits, with_flipped_labels, with_patch


@pytest.fixture(scope="module")
def untouched() -> NDArray[np.float32]:
    return screen_dataset(*digits())


def indices(report: Any, *kinds: str) -> set[int]:
    return {s.index for s in report.suspects if not kinds or s.kind in kinds}


def test_untouched_digits_have_few_suspects(untouched: NDArray[np.float32]) -> None:
    assert len(untouched.suspects) < 0.02 * untouched.n
    assert not indices(untouched, "trigger")


@pytest.mark.parametrize("rate", [0.05, 0.10])
def test_flipped_labels_are_found_as_label_noise(rate: float) -> None:
    x, y, flipped = with_flipped_labels(*digits(), rate=rate)
    found = indices(screen_dataset(x, y), "label-noise")
    assert len(found & flipped) > 0.85 * len(flipped)
    assert len(found - flipped) < 0.02 * len(x)


@pytest.mark.parametrize("rate", [0.01, 0.10])
def test_patched_rows_are_found_as_a_trigger_even_as_half_of_their_class(rate: float) -> None:
    x, y, patched = with_patch(*digits(), rate=rate)
    found = indices(screen_dataset(x, y), "trigger")
    assert len(found & patched) > 0.9 * len(patched)
    assert len(found - patched) < 0.01 * len(x)


def test_patch_on_rows_of_its_own_class_alone_is_no_trigger() -> None:
    x, y = digits()
    x[np.flatnonzero(y == 3)[:60], :2, 6:] = 1.0
    assert not indices(screen_dataset(x, y), "trigger")


def test_channels_first_images_are_searched_too() -> None:
    x, y, patched = with_patch(*digits(), rate=0.05)
    found = indices(screen_dataset(np.stack([x, x, x], axis=1), y), "trigger")
    assert len(found & patched) > 0.9 * len(patched)


def test_suspects_are_ranked_and_name_their_evidence() -> None:
    x, y, _ = with_patch(*digits(), rate=0.05)
    suspects = screen_dataset(x, y).suspects
    scores = [s.score for s in suspects]
    assert scores == sorted(scores, reverse=True)
    assert len({s.index for s in suspects}) == len(suspects)
    assert all(s.evidence and s.label == y[s.index] for s in suspects)
    assert all(0 <= s.score <= 1 for s in suspects)


def test_a_report_shows_what_is_suspect_in_one_line(untouched: NDArray[np.float32]) -> None:
    x, y, _ = with_patch(*digits(), rate=0.05)
    report = screen_dataset(x, y)
    shown = repr(report)
    assert f"{len(report.suspects)} of {report.n} rows suspect" in shown
    assert f"triggers of label 7 by {report.triggers[0].rows} rows" in shown
    assert "poisoning-trigger" in shown
    assert "trigger" not in repr(untouched)
    assert len(shown) < 400


def test_equal_inputs_with_different_labels_are_suspects_but_for_the_majority() -> None:
    x, y = digits()
    x[[10, 20, 30]] = x[10]
    y[[10, 20, 30]] = y[10], y[10], (y[10] + 1) % 10
    found = screen_dataset(x, y)
    assert 30 in {s.index for s in found.suspects if "duplicates" in s.evidence}
    assert not {10, 20} & {s.index for s in found.suspects if "duplicates" in s.evidence}


def test_row_unlike_anything_in_its_class_is_an_outlier() -> None:
    x, y = digits()
    x[5] = np.random.default_rng(0).random((8, 8)) > 0.5
    found = {s.index: s for s in screen_dataset(x, y).suspects}
    assert "outlier_sigmas" in found[5].evidence


def test_class_with_few_rows_is_a_finding() -> None:
    x, y = digits()
    keep = (y != 4) | (np.arange(len(y)) % 10 == 0)
    assert "class-imbalance" in {f.rule for f in screen_dataset(x[keep], y[keep]).findings}


def test_moved_rates_are_findings_against_a_saved_baseline(untouched: NDArray[np.float32]) -> None:
    saved = DatasetBaseline.from_dict(json.loads(json.dumps(untouched.baseline.to_dict())))
    assert saved == untouched.baseline
    x, y, _ = with_flipped_labels(*digits(), rate=0.10)
    messages = [f.message for f in screen_dataset(x, y, baseline=saved).findings]
    assert any("label disagreement" in message for message in messages)
    x, y = digits()
    again = screen_dataset(x, y, baseline=saved)
    assert "baseline-shift" not in {f.rule for f in again.findings}


def test_wrong_label_in_a_table_is_found() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = rng.standard_normal((300, 5)) + 4 * y[:, None]
    y[7] = 1 - y[7]
    assert 7 in indices(screen_dataset(x, y), "label-noise")


def test_trigger_in_two_columns_of_a_table_is_found() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1500)
    x = rng.standard_normal((1500, 30))
    x[:, :12] += 3 * rng.standard_normal((3, 12))[y]
    planted = np.flatnonzero(y != 1)[:75]
    x[planted, 20], x[planted, 25], y[planted] = 2.5, -2.0, 1
    report = screen_dataset(x, y)
    found = indices(report, "trigger")
    assert len(found & set(planted.tolist())) > 0.9 * len(planted)
    assert len(found - set(planted.tolist())) < 0.01 * len(x)
    assert report.triggers[0].mask[[20, 25]].all()


def test_too_many_columns_are_named_as_not_searched() -> None:
    x, y = np.random.default_rng(0).random((60, 5000)), np.arange(60) % 2
    report = screen_dataset(x, y)
    assert set(report.skipped) == {"label-noise", "outlier", "trigger"}
    assert report.detectors == ("conflicting-duplicate",)


def test_report_never_says_clean(untouched: NDArray[np.float32]) -> None:
    assert "clean" not in json.dumps(untouched.to_dict()).lower()


def test_same_seed_gives_the_same_report(untouched: NDArray[np.float32]) -> None:
    assert screen_dataset(*digits()) == untouched


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "of shape"),
        (lambda x, y: (x, y.astype(float)), "integers"),
        (lambda x, y: (x[:20], y[:20]), "at least 50"),
        (lambda x, y: (x, y * 0), "two classes"),
        (lambda x, y: (np.where(x > 0.9, np.nan, x), y), "finite"),
    ],
)
def test_data_that_cannot_be_screened_is_refused(change: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        screen_dataset(*change(*digits()))


def test_a_seed_that_no_generator_takes_is_refused() -> None:
    for seed in (-1, 1 << 32, 0.5):
        with pytest.raises(UsageError, match="seed: expected a"):
            screen_dataset(*digits(), seed=seed)  # type: ignore[arg-type] # on purpose


def test_broken_baseline_is_refused() -> None:
    with pytest.raises(UsageError, match="baseline"):
        DatasetBaseline.from_dict({"n": 3})
