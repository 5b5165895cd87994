from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.robustness import (
    APGD,
    FGSM,
    PGD,
    Attack,
    HopSkipJump,
    Noise,
    Square,
    Table,
    evaluate_robustness,
)
from tests.attackers.robustness import AttackOutsideItsBall, SoftmaxRegression

ATTACKS = [
    PGD(0.1, steps=20),
    PGD(0.3, norm="l2", steps=20),
    APGD(0.1, steps=20),
    Square(0.1, queries=200),
    HopSkipJump(0.1, queries=500),
    Noise(0.1),
]
# Columns: 0, 1 and 2 are numbers, 3, 4 and 5 one category.
TABLE = Table(immutable=(1,), one_hot=((3, 4, 5),))
LOW, HIGH = np.array([0, 0, -2, 0, 0, 0]), np.array([1, 100, 2, 1, 1, 1])


@pytest.fixture
def model() -> Any:
    """Class 1 where ``x0 + x1 / 100 + category`` passes 1; category is worth 0, 0.3 or -0.3."""
    weights = np.zeros((6, 2), dtype=np.float32)
    weights[:, 1] = [10, 0.1, 0, 0, 3, -3]
    return SoftmaxRegression(weights=weights, bias=np.array([0, -10], dtype=np.float32))


@pytest.fixture
def rows() -> Any:
    rng = np.random.default_rng(0)
    x = np.zeros((90, 6), dtype=np.float32)
    x[:, 0], x[:, 1] = rng.random(90), 100 * rng.random(90)
    x[:, 2] = rng.uniform(-2, 2, 90)
    x[np.arange(90), 3 + np.arange(90) % 3] = 1
    return x


def test_category_is_chosen_where_numbers_alone_do_not_suffice(model: Any, rows: Any) -> None:
    y = model.logits(rows).argmax(axis=1)
    value = rows[:, 0] + rows[:, 1] / 100
    category = np.select([rows[:, 4] == 1, rows[:, 5] == 1], [0.3, -0.3], 0.0)
    first = np.clip(rows[:, 0] + np.where(y == 1, -0.1, 0.1), 0, 1) - rows[:, 0]
    best = value + first + np.where(y == 1, -0.3, 0.3)
    fooled = np.where(y == 1, best < 1, best > 1)
    report = evaluate_robustness(
        model, rows, y, [PGD(0.1, steps=40)], bounds=(LOW, HIGH), table=TABLE
    )
    assert (~report.worst.correct == fooled).mean() > 0.97
    numbers_only = Table(immutable=(1, 3, 4, 5), one_hot=((3, 4, 5),))
    less = evaluate_robustness(
        model, rows, y, [PGD(0.1, steps=40)], bounds=(LOW, HIGH), table=numbers_only
    )
    reach = np.where(y == 1, value + first + category < 1, value + first + category > 1)
    assert (~less.worst.correct == reach).mean() > 0.97
    assert less.worst.hits > report.worst.hits
    assert {check.outcome for check in less.checks} == {"pass"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_every_attack_keeps_to_the_table(model: Any, rows: Any, attack: Attack) -> None:
    y = model.logits(rows).argmax(axis=1)
    report = evaluate_robustness(model, rows, y, [attack], bounds=(LOW, HIGH), table=TABLE)
    examples = report.worst.examples
    assert (examples[:, 1] == rows[:, 1]).all()
    assert ((examples[:, 3:] == 0) | (examples[:, 3:] == 1)).all()
    assert (examples[:, 3:].sum(axis=1) == 1).all()
    assert np.abs(examples[:, [0, 2]] - rows[:, [0, 2]]).max() <= attack.eps + 1e-5
    assert (examples >= LOW).all()
    assert (examples <= HIGH).all()
    assert (model.logits(examples).argmax(axis=1) == y)[report.worst.correct].all()


def test_fgsm_chooses_categories_by_their_gradient(model: Any, rows: Any) -> None:
    y = model.logits(rows).argmax(axis=1)
    report = evaluate_robustness(model, rows, y, [FGSM(0.1)], bounds=(LOW, HIGH), table=TABLE)
    assert (report.worst.examples[:, 3:] != rows[:, 3:]).any()


def test_bounds_hold_for_each_feature(model: Any, rows: Any) -> None:
    y = model.logits(rows).argmax(axis=1)
    report = evaluate_robustness(model, rows, y, [PGD(0.5, steps=5)], bounds=(LOW, HIGH))
    assert (report.worst.examples >= LOW).all()
    assert (report.worst.examples <= HIGH).all()
    assert report.bounds == (-2, 100)
    with pytest.raises(UsageError, match="inside bounds"):
        evaluate_robustness(model, rows, y, [PGD(0.5)], bounds=(LOW, HIGH / 2))
    with pytest.raises(UsageError, match="one input's shape"):
        evaluate_robustness(model, rows, y, [PGD(0.5)], bounds=(LOW[:2], HIGH[:2]))


def test_attack_that_ignores_the_table_is_refused(model: Any, rows: Any) -> None:
    class Meddler(AttackOutsideItsBall):
        def perturb(
            self, _adapter: object, x: NDArray[np.float32], _y: object, **_options: object
        ) -> Any:
            examples = x.copy()
            examples[:, 1] += 0.001
            return examples

    y = model.logits(rows).argmax(axis=1)
    with pytest.raises(UsageError, match="immutable column"):
        evaluate_robustness(model, rows, y, [Meddler()], bounds=(LOW, HIGH), table=TABLE)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Table(one_hot=((1, 2), (2, 3))), "disjoint"),
        (lambda: Table(one_hot=((1,),)), "at least two"),
        (lambda: Table(one_hot=((1, 2),), immutable=(2,)), "all columns"),
        (lambda: Table(immutable=(-1,)), "at least 0"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(build: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()


def test_rows_that_are_not_what_the_table_says_are_refused(model: Any, rows: Any) -> None:
    y = model.logits(rows).argmax(axis=1)
    for table, message in (
        (Table(immutable=(6,)), "more than 6 columns"),
        (Table(one_hot=((0, 3),)), "one 1"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate_robustness(model, rows, y, ATTACKS, bounds=(LOW, HIGH), table=table)
