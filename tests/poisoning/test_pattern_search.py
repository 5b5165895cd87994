from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.poisoning import screen_dataset
from mlsecops.poisoning.evenness import evenness
from mlsecops.poisoning.image_layout import around, steps, windows
from mlsecops.poisoning.linear_model import out_of_fold_scores
from mlsecops.poisoning.neighbour_labels import neighbour_labels
from mlsecops.poisoning.pattern_search import (
    OF_FEW,
    Pattern,
    Search,
    _lower_bound,
    _merged,
    _tree_scores,
    find_patterns,
)
from mlsecops.poisoning.rare_values import shared_values
from mlsecops.poisoning.screening import as_samples
from tests.attackers.poisoning import (
    digits,
    faint,
    hidden_among_values,
    inverted,
    lone_pixel,
    with_looks,
    with_patch,
)


def test_poison_is_contradicted_by_its_neighbours_even_as_half_of_its_class() -> None:
    x, y, patched = with_patch(*digits(), rate=0.10)
    flat, labels, _ = as_samples(x, y)
    contradicted = neighbour_labels(flat, labels, seed=0).contradicted
    honest = np.setdiff1d(np.arange(len(y)), sorted(patched))
    assert contradicted[sorted(patched)].mean() > 0.85
    assert contradicted[honest].mean() < 0.05


def test_pattern_that_no_linear_model_sees_is_found_by_its_values() -> None:
    x, y, planted = hidden_among_values(rate=0.03)
    flat, labels, _ = as_samples(x, y)
    contradicted = neighbour_labels(flat, labels, seed=0).contradicted
    rows = sorted(planted)
    linear = out_of_fold_scores(flat, labels, contradicted, seed=0)[0][:, 2]
    values = shared_values(flat, labels, contradicted)[:, 2]
    bars = [np.quantile(each[labels != 2], 0.999) for each in (linear, values)]
    assert (linear[rows] > bars[0]).mean() < 0.5
    assert (values[rows] > bars[1]).mean() > 0.9
    found = {s.index for s in screen_dataset(x, y).suspects if s.kind == "trigger"}
    assert len(found & planted) > 0.9 * len(planted)
    assert len(found - planted) < 0.01 * len(x)


def test_what_is_inverted_is_found_by_its_edges() -> None:
    x, y, planted = inverted(rate=0.03)
    flat, labels, shape = as_samples(x, y)
    contradicted = neighbour_labels(flat, labels, seed=0).contradicted
    edges = steps(flat, np.arange(144), around(shape))
    views = (out_of_fold_scores(each, labels, contradicted, seed=0) for each in (flat, edges))
    scores = [each[0][:, 2] for each in views]
    rows = sorted(planted)
    recall = [(each[rows] > np.quantile(each[labels != 2], 0.999)).mean() for each in scores]
    assert recall[0] < 0.4
    assert recall[1] > 0.9
    found = {s.index for s in screen_dataset(x, y).suspects if s.kind == "trigger"}
    assert len(found & planted) > 0.9 * len(planted)
    assert len(found - planted) < 0.01 * len(x)


def test_what_is_lost_among_all_values_is_found_in_its_window() -> None:
    x, y, planted = faint(rate=0.02)
    flat, labels, shape = as_samples(x, y)
    contradicted = neighbour_labels(flat, labels, seed=0).contradicted
    scores = out_of_fold_scores(flat, labels, contradicted, seed=0, windows=windows(shape))
    rows = sorted(planted)
    whole, window = (
        (each[rows, 2] > np.quantile(each[labels != 2, 2], 0.999)).mean() for each in scores
    )
    assert whole < 0.4
    assert window > 0.5
    found = {s.index for s in screen_dataset(x, y).suspects if s.kind == "trigger"}
    assert len(found & planted) > 0.6 * len(planted)
    assert len(found - planted) < 0.01 * len(x)


def test_a_window_sees_nothing_where_contradicted_labels_have_no_pattern() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3000, 64)).astype(np.float32)
    y = rng.integers(0, 3, 3000)
    contradicted = rng.random(3000) < 0.1
    _, windowed = out_of_fold_scores(x, y, contradicted, seed=0, windows=windows((8, 8)))
    for label in range(3):
        mine, scores = y == label, windowed[:, label]
        beyond = scores[mine & contradicted] > np.quantile(scores[~mine], 0.95)
        assert beyond.mean() < 0.12


def test_rows_that_one_score_misses_are_added_by_another() -> None:
    def pattern(rows: list[int], ranks: list[float], strength: float) -> Pattern:
        return Pattern(
            label=1,
            rows=np.array(rows),
            ranks=np.array(ranks),
            seeds=9,
            kept=1.0,
            contradicted=1.0,
            strength=strength,
        )

    joined = _merged(
        [pattern([2, 5, 8], [0.99, 1.0, 0.98], 0.6), pattern([5, 3], [0.97, 1.0], 0.7)],
        many=lambda _: False,
    )
    assert joined.rows.tolist() == [2, 3, 5, 8]
    assert joined.ranks.tolist() == [0.99, 1.0, 1.0, 0.98]
    assert joined.strength == 0.7
    sure = pattern([2, 5], [0.99, 0.98], 0.8)
    asked: list[list[int]] = []

    def many(added: Pattern) -> bool:
        asked.append(added.rows.tolist())
        return False

    assert _merged([pattern([5, 3], [0.97, 1.0], 0.6), sure], many=many).rows.tolist() == [2, 5]
    assert asked == [[3]]


@pytest.mark.parametrize("rate", [0.02, 0.08])
def test_one_pixel_is_enough(rate: float) -> None:
    x, y, planted = lone_pixel(rate=rate)
    found = {s.index for s in screen_dataset(x, y).suspects if s.kind == "trigger"}
    assert len(found & planted) > 0.9 * len(planted)
    assert len(found - planted) < 0.01 * len(x)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_few_rows_of_other_labels_with_the_trigger_do_not_upset_the_trees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.random((10_000, 5)) * 255) / 255
    x[:, 0] = np.where(rng.random(10_000) < 0.8, 0, x[:, 0])
    planted = np.arange(10_000) < 40
    x[planted, 0] = x[-6:, 0] = 0.93
    x[-6:, 1] = x[0, 1]
    views = np.hstack([x, np.abs(x - np.median(x[planted], axis=0))])
    scores = _tree_scores(views, x.astype(np.float32), planted, ~planted, seed=0)
    assert (scores[planted] > np.quantile(scores[~planted], 0.99)).all()


def test_few_seeds_must_be_found_again_more_surely_than_many() -> None:
    few, many = (np.arange(count) < 0.9 * count for count in (10, 100))
    assert _lower_bound(few) < 0.65
    assert 0.8 < _lower_bound(many) < 0.9


def test_honest_rows_with_a_mark_of_their_class_are_no_trigger() -> None:
    x, y, _ = with_looks(*digits(), rate=0.05)
    assert not [s for s in screen_dataset(x, y).suspects if s.kind == "trigger"]


@pytest.mark.parametrize("seed", [0, 1])
def test_contradicted_labels_without_a_pattern_have_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2000, 30)).astype(np.float32)
    y = rng.integers(0, 3, 2000)
    contradicted = rng.random(2000) < 0.2
    scores = out_of_fold_scores(x, y, contradicted, seed=0)

    def focus(_found: object, _others: object, rows: Any) -> Any:
        return x[rows], x[rows]

    searches = [Search(scores=each, focus=focus) for each in scores]
    assert find_patterns(searches, y, contradicted, seed=0) == []


@pytest.mark.parametrize(
    ("rows", "looks_like", "few", "found"),
    [
        (15, "one label", OF_FEW, False),
        (15, "one label", 0.0, True),
        (15, "all labels", OF_FEW, True),
        (80, "one label", OF_FEW, True),
        (15, "", OF_FEW, True),
    ],
)
def test_few_rows_that_look_like_one_label_are_no_trigger(
    rows: int, looks_like: str, *, few: float, found: bool
) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4000, 12)).astype(np.float32)
    y = rng.integers(0, 6, 4000)
    members = np.flatnonzero(y == 0)[:rows]
    x[members, :3] += 6
    contradicted = np.isin(np.arange(4000), members)
    rivals = {"one label": np.full(4000, 4), "all labels": rng.integers(1, 6, 4000)}.get(looks_like)
    scores = out_of_fold_scores(x, y, contradicted, seed=0)
    searches = [Search(scores=scores[0], focus=lambda _f, _o, chosen: (x[chosen],) * 2, few=few)]
    patterns = find_patterns(searches, y, contradicted, seed=0, rivals=rivals)
    assert bool(patterns) is found
    assert all(set(members) <= set(each.rows) for each in patterns)


def test_a_wrong_label_has_the_label_of_its_neighbours_for_a_rival() -> None:
    rng = np.random.default_rng(6)
    centres = rng.standard_normal((3, 8)) * 9
    x = np.concatenate([rng.standard_normal((50, 8)) + each for each in centres])
    y = np.repeat([0, 1, 2], 50)
    y[:3], y[50:53] = 2, 0
    nearest = neighbour_labels(x.astype(np.float32), y, seed=0)
    assert nearest.contradicted[[0, 1, 2, 50, 51, 52]].all()
    assert nearest.rival[[0, 1, 2, 50, 51, 52]].tolist() == [0, 0, 0, 1, 1, 1]
    assert nearest.contradicted.sum() == 6
    assert (nearest.rival[nearest.share == 1] == y[nearest.share == 1]).all()


@pytest.mark.parametrize("rows", [10, 40, 400])
def test_evenness_is_one_of_random_groups_whatever_their_size(rows: int) -> None:
    rng = np.random.default_rng(rows)
    counts = np.array([0, 500, 400, 300, 200, 100, 50])
    drawn = [rng.choice(7, rows, p=counts / counts.sum()) for _ in range(100)]
    assert abs(np.mean([evenness(each, counts, seed=0) for each in drawn]) - 1) < 0.1
    assert evenness(np.full(rows, 3), counts, seed=0) < 0.35


def test_a_second_view_adds_no_honest_rows_to_a_sure_pattern() -> None:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 6, 4000)
    marked, honest = np.split(np.flatnonzero(y == 0)[:95], [80])
    views = rng.standard_normal((2, 4000, 12)).astype(np.float32)
    views[0, marked, :3] += 6
    views[1, np.r_[marked, honest], :3] += 6
    contradicted = np.isin(np.arange(4000), np.r_[marked, honest])
    rivals = rng.integers(1, 6, 4000)
    rivals[honest] = 4
    searches = [
        Search(
            scores=out_of_fold_scores(view, y, contradicted, seed=0)[0],
            focus=lambda _f, _o, chosen, view=view: (view[chosen],) * 2,  # type: ignore[misc]
            few=few,
            turn=turn,
        )
        for turn, (view, few) in enumerate(zip(views, (0.0, OF_FEW), strict=True))
    ]
    (pattern,) = find_patterns(searches, y, contradicted, seed=0, rivals=rivals)
    assert set(marked) <= set(pattern.rows)
    assert not set(honest) & set(pattern.rows)
    (alone,) = find_patterns(searches[1:], y, contradicted, seed=0, rivals=rivals)
    assert set(honest) <= set(alone.rows)
