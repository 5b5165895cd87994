from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlsecops import Baseline
from mlsecops.errors import UsageError

N = 800
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
POSITIVE = 1 / (1 + np.exp(-3 * X[:, 0]))
SEVERAL = 1 / (1 + np.exp(-2 * X))
NOISY = X.sum(axis=1) + RNG.normal(size=N) * np.where(X[:, 0] > 0, 2.0, 0.2)
RANKINGS = [list(RNG.permutation(["a", "b", "c", "d"])) for _ in range(N)]
RECORDS = [{"label": "spam" if a > 0 else "ham", "score": float(abs(a))} for a in X[:, 0]]

ANSWERS: dict[str, tuple[str, Any, Any, Any]] = {
    # kind: argument, the reference's answers, one answer, answers that drifted
    "one number": ("predictions", X.sum(axis=1), 0.5, X.sum(axis=1) + 3),
    "several numbers": ("predictions", X, np.array([0.1, 0.2, 0.3]), X + np.array([0, 0, 2])),
    "bf16": ("predictions", X[:, 0], torch.tensor([0.5], dtype=torch.bfloat16), X[:, 0] * 3),
    "class names": ("predictions", np.where(X[:, 0] > 0, "yes", "no"), "no", ["yes"] * N),
    "a ranking": ("predictions", RANKINGS, ["d", "c", "b", "a"], [["d", "a", "b", "c"]] * N),
    "a record": ("predictions", RECORDS, RECORDS[0], [{"label": "spam", "score": 0.1}] * N),
    "JSON": ("predictions", [json.dumps(r) for r in RECORDS], "sorry", ["I cannot"] * N),
    "P(positive)": ("probabilities", POSITIVE, 0.25, np.full(N, 0.5)),
    "several labels": ("probabilities", SEVERAL, SEVERAL[0], np.full((N, 3), 0.5)),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_of_every_kind_are_watched(kind: str, tmp_path: Path) -> None:
    argument, usual, one, moved = ANSWERS[kind]
    baseline = Baseline.load(Baseline.fit(X, **{argument: usual}).save(tmp_path / "b"))
    assert not baseline.prediction_drift(usual).drifted
    assert baseline.prediction_drift(moved).drifted
    assert baseline.answers is not None
    assert len(baseline.answers.read(one, 1).table) == 1
    assert len(baseline.answers.read(usual, N).table) == N


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("one number", NOISY),
        ("several numbers", X + RNG.normal(size=(N, 3)) * (1 + (X[:, :1] > 0) * 5)),
        (
            "a record",
            [r if r["label"] == "ham" else {"label": "ham", "score": 9.0} for r in RECORDS],
        ),
    ],
)
def test_the_loss_to_expect_follows_the_inputs(kind: str, labels: Any, tmp_path: Path) -> None:
    argument, usual, _, _ = ANSWERS[kind]
    made = Baseline.fit(X, labels=labels, **{argument: usual})
    baseline = Baseline.load(made.save(tmp_path / "b"))
    hard, easy = (np.flatnonzero(side) for side in (X[:, 0] > 0, X[:, 0] < 0))
    chosen = [usual[i] for i in hard], [usual[i] for i in easy]
    losses = [baseline.estimate_loss(X[i], a) for i, a in zip((hard, easy), chosen, strict=True)]
    assert baseline.loss is not None
    assert losses[0] > baseline.loss > losses[1]


def test_the_loss_of_several_labels_is_the_share_of_wrong_ones() -> None:
    truth = RNG.random((N, 3)) < SEVERAL
    baseline = Baseline.fit(X, SEVERAL, truth)
    fresh = 1 / (1 + np.exp(-2 * RNG.normal(size=(4000, 3)) * 0.3))
    real = ((RNG.random(fresh.shape) < fresh) != (fresh >= 0.5)).mean()
    assert baseline.estimate_loss(fresh, fresh) == pytest.approx(real, abs=0.03)


@pytest.mark.parametrize(
    ("answers", "rows"),
    [(np.ones((5, 3)), 5), (np.array([[2.0, -1.0]]), 1), (np.full((4, 2), 0.5), 3), ("yes", 1)],
)
def test_answers_of_another_kind_are_refused(answers: Any, rows: int) -> None:
    baseline = Baseline.fit(X, POSITIVE)
    assert baseline.answers is not None
    with pytest.raises(UsageError):
        baseline.answers.read(answers, rows)


def test_labels_may_be_names_of_classes() -> None:
    names = np.where(RNG.random(N) < POSITIVE, "fraud", "fine")
    baseline = Baseline.fit(X, 1 - POSITIVE, names)  # P(fraud), by alphabet: fine, fraud
    reverse = Baseline.fit(X, POSITIVE, names)
    assert baseline.accuracy is not None
    assert reverse.accuracy is not None
    assert reverse.accuracy > 0.7
    assert baseline.accuracy < 0.3
