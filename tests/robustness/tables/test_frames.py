"""Data frames: each column has its own eps, and what is not free stays; pipelines are followed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from mlsecops import Gate, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import HopSkipJump, Square, Table, TreeAttack

FEW = Square(0.1, queries=8)
HALF = 150


@pytest.fixture(scope="module")
def people() -> tuple[pd.DataFrame, Any]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "age": rng.integers(18, 90, 300),
        "income": rng.lognormal(10, 0.5, 300),
        "job": rng.choice(["clerk", "nurse", "smith"], 300),
        "city": rng.choice(["Bern", "Rom"], 300),
        "debt": rng.normal(0, 1, 300),
    })  # fmt: skip
    frame.loc[::7, "debt"] = np.nan
    value = frame["income"] / 20000 + (frame["job"] == "clerk") - frame["age"] / 60
    return frame, np.where(value + frame["debt"].fillna(0) * 0.3 > 0.2, "yes", "no")


def steps() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([
        ("numbers", numbers, ["age", "income", "debt"]),
        ("names", OneHotEncoder(handle_unknown="ignore"), ["job", "city"]),
    ])  # fmt: skip


def ordinal() -> Any:
    names = [("names", OrdinalEncoder(), ["job", "city"])]
    return ColumnTransformer(names, remainder="passthrough")


PIPELINES: dict[str, Callable[[], Any]] = {
    "one-hot, one tree": lambda: make_pipeline(
        steps(), DecisionTreeClassifier(max_depth=5, random_state=0)
    ),
    "one-hot, forest": lambda: make_pipeline(
        steps(), RandomForestClassifier(7, max_depth=4, random_state=0)
    ),
    "ordinal, histogram boosting": lambda: make_pipeline(
        ordinal(), HistGradientBoostingClassifier(max_iter=5)
    ),
    "scaled twice, forest": lambda: make_pipeline(
        steps(), MinMaxScaler(), RandomForestClassifier(7, max_depth=4, random_state=0)
    ),
    "one-hot, the best four columns, forest": lambda: make_pipeline(
        steps(), SelectKBest(k=4), RandomForestClassifier(7, max_depth=4, random_state=0)
    ),
}
SELECTIONS = {
    "best": SelectKBest(k=2),
    "by variance": VarianceThreshold(0.01),
    "from a model": SelectFromModel(DecisionTreeClassifier(), threshold=1e-9),
    "by elimination": RFE(DecisionTreeClassifier(), n_features_to_select=2),
    "one after another": SequentialFeatureSelector(
        DecisionTreeClassifier(), n_features_to_select=2, cv=2
    ),
}
TABLE = Table(eps={"age": 2, "income": 500.0}, categories={"job": ["clerk", "nurse"]})


def fit(build: Callable[[], Any], frame: pd.DataFrame, y: Any) -> Any:
    return build().fit(frame[:HALF], y[:HALF])


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_proven_on_a_frame_holds_for_every_change_that_the_table_allows(
    name: str, people: Any
) -> None:
    frame, y = people
    model, tested, labels = fit(PIPELINES[name], frame, y), frame[HALF:], y[HALF:]
    report = evaluate_robustness(model, tested, labels, FEW, table=TABLE)
    assert report.certified is not None
    assert report.worst.hits - report.certified.hits <= 1
    assert [c.name for c in report.checks if c.outcome != "pass"] == []
    rng, proven = np.random.default_rng(1), report.certified.correct
    for job, _ in itertools.product((None, "clerk", "nurse"), range(15)):
        moved = tested.assign(
            age=tested["age"] + rng.integers(-2, 3, len(tested)),
            income=tested["income"] + rng.choice([-500, 500, 250], len(tested)),
            **({} if job is None else {"job": job}),
        )
        assert (model.predict(moved) == labels)[proven].all()


def test_examples_are_a_frame_in_which_only_free_columns_changed(people: Any) -> None:
    frame, y = people
    model, tested = fit(PIPELINES["one-hot, forest"], frame, y), frame[HALF:]
    report = evaluate_robustness(model, tested, y[HALF:], FEW, table=TABLE)
    examples = report.worst.examples
    assert isinstance(examples, pd.DataFrame)
    assert list(examples.dtypes) == list(tested.dtypes)
    assert np.abs(examples["age"].to_numpy() - tested["age"].to_numpy()).max() == 2
    assert np.abs(examples["income"].to_numpy() - tested["income"].to_numpy()).max() <= 500
    for kept in ("city", "debt"):
        pd.testing.assert_series_equal(examples[kept], tested[kept])
    swapped = examples["job"].to_numpy() != tested["job"].to_numpy()
    assert swapped.any()
    assert set(examples["job"][swapped]) <= {"clerk", "nurse"}
    fooled = ~report.worst.correct & report.clean.correct
    assert (model.predict(examples)[fooled] != y[HALF:][fooled]).all()
    assert Gate(min_accuracy=0.9).judge(report).verdict == "fail"


def test_each_column_has_its_own_eps_under_every_attack(people: Any) -> None:
    frame, y = people
    model, tested = fit(lambda: make_pipeline(steps(), LogisticRegression()), frame, y), frame[240:]
    table = Table(eps={"age": 3, "debt": 0.25})
    for attack in (FEW, HopSkipJump(0.1, queries=30)):
        report = evaluate_robustness(model, tested, y[240:], attack, table=table, checks=False)
        examples = report.worst.examples
        assert np.abs(examples["age"].to_numpy() - tested["age"].to_numpy()).max() <= 3
        assert (
            np.nanmax(np.abs(examples["debt"].to_numpy() - tested["debt"].to_numpy())) < 0.2500001
        )
        assert (examples["income"].to_numpy() == tested["income"].to_numpy()).all()
        assert report.worst.hits < report.clean.hits


@pytest.mark.parametrize("library", ["sklearn", "lightgbm", "xgboost"])
def test_a_library_s_own_categories_and_missing_values_are_proven(
    library: str, people: Any
) -> None:
    frame, y = people
    frame = frame.astype({"job": "category", "city": "category"})
    labels = (y == "yes").astype(int)
    model: Any = {
        "sklearn": lambda: HistGradientBoostingClassifier(
            max_iter=6, categorical_features="from_dtype"
        ),
        "lightgbm": lambda: lightgbm.LGBMClassifier(
            n_estimators=6, min_child_samples=5, verbose=-1, min_data_per_group=5
        ),
        "xgboost": lambda: xgboost.XGBClassifier(
            n_estimators=6, enable_categorical=True, max_cat_to_onehot=1
        ),
    }[library]()
    model.fit(frame[:HALF], labels[:HALF])
    table = Table(eps={"income": 900.0}, categories=["job"], missing=["debt"])
    report = evaluate_robustness(model, frame[HALF:], labels[HALF:], FEW, table=table)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits
    assert report.worst.hits < report.clean.hits
    proven, tested = report.certified.correct, frame[HALF:]
    for job, empty in itertools.product(("clerk", "nurse", "smith"), (False, True)):
        moved = tested.assign(job=pd.Categorical([job] * len(tested), tested["job"].cat.categories))
        moved = moved.assign(debt=np.nan) if empty else moved
        assert (model.predict(moved) == labels[HALF:])[proven].all()


@pytest.mark.parametrize("kind", ["array", "frame", "one-hot"])
def test_a_category_that_changes_as_a_number_is_attacked_but_not_proven(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 6, 300), rng.integers(0, 40, 300)])
    labels = np.isin(x[:, 0], [1, 4]).astype(int)
    booster = lightgbm.LGBMClassifier(
        n_estimators=5, min_child_samples=5, verbose=-1, min_data_per_group=5, cat_smooth=1
    )
    data: Any = x.astype(float)
    if kind != "array":
        data = pd.DataFrame({"job": x[:, 0], "age": x[:, 1]})
    column: Any = 0 if kind == "array" else "job"
    model: Any = booster
    if kind in {"array", "frame"}:
        model.fit(data[:HALF], labels[:HALF], categorical_feature=[column])
    else:
        step = ColumnTransformer([("job", OneHotEncoder(), ["job"])], remainder="passthrough")
        model = make_pipeline(step, DecisionTreeClassifier()).fit(data[:HALF], labels[:HALF])
    report = evaluate_robustness(model, data[HALF:], labels[HALF:], TreeAttack(1.0), bounds=(0, 60))
    moved = x[HALF:] + np.where(x[HALF:, :1] == 5, -1, 1) * [1, 0]
    moved[x[HALF:, 0] == 2] = [1, 0]
    assert report.clean.accuracy == 1
    assert (np.isin(moved[:, 0], [1, 4]) != labels[HALF:]).mean() > 0.5
    assert report.certified is not None
    assert report.certified.accuracy == 0
    assert Gate(min_accuracy=0.1).judge(report).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("step", "categories", "message"),
    [(SimpleImputer(missing_values=0), None, r"SimpleImputer\(missing_values=0\) reorders"),
     (StandardScaler(with_mean=False, with_std=False), [0], "categories that are numbers behind")],
)  # fmt: skip
def test_steps_that_move_a_number_elsewhere_are_not_followed(
    step: Any, categories: Any, message: str
) -> None:
    x = np.random.default_rng(0).integers(0, 6, (300, 2)).astype(float)
    labels = ((x[:, 0] > 3) | (x[:, 0] == 0)).astype(int)
    last = HistGradientBoostingClassifier(max_iter=3, categorical_features=categories)
    model = make_pipeline(step, last).fit(x[:HALF], labels[:HALF])
    with pytest.raises(UsageError, match=message):
        evaluate_robustness(model, x[HALF:], labels[HALF:], TreeAttack(1.0), bounds=(0, 40))


def test_missing_values_of_an_array_stay_missing() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((300, 3))
    y = (x[:, 0] > 0.5).astype(int)
    x[rng.random(x.shape) < 0.2] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5).fit(x[:HALF], y[:HALF])
    report = evaluate_robustness(model, x[HALF:], y[HALF:], FEW)
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits
    examples = report.worst.examples
    np.testing.assert_array_equal(np.isnan(examples), np.isnan(x[HALF:]))


def test_the_tree_attack_may_be_asked_for_where_it_runs_anyway(people: Any) -> None:
    frame, y = people
    model = fit(PIPELINES["one-hot, one tree"], frame, y)
    alone = evaluate_robustness(model, frame[HALF:], y[HALF:], TreeAttack(0.1), table=TABLE)
    both = evaluate_robustness(model, frame[HALF:], y[HALF:], [FEW, TreeAttack(0.1)], table=TABLE)
    assert list(alone.attacks) == ["trees"]
    assert list(both.attacks) == ["square", "trees"]
    assert alone.worst.hits == both.attacks["trees"].hits
    other = fit(lambda: make_pipeline(steps(), LogisticRegression()), frame, y)
    with pytest.raises(UsageError, match="expected a tree ensemble"):
        evaluate_robustness(other, frame[HALF:], y[HALF:], TreeAttack(0.1), table=TABLE)


def test_a_pipeline_of_arrays_is_followed_too() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((300, 3)) * [1, 0.5, 0.2]).astype(np.float32)
    y = (x[:, 0] > 0.5).astype(int)
    model = make_pipeline(StandardScaler(), MinMaxScaler(), DecisionTreeClassifier(max_depth=4))
    model.fit(x[:HALF], y[:HALF])
    report = evaluate_robustness(model, x[HALF:], y[HALF:], Square(0.05, queries=8))
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits
    mixed = make_pipeline(PolynomialFeatures(2), DecisionTreeClassifier()).fit(x[:HALF], y[:HALF])
    other = evaluate_robustness(mixed, x[HALF:], y[HALF:], FEW)
    assert other.certified is None
    assert "trees-read" in [check.name for check in other.checks if check.outcome == "fail"]


@pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)
def test_steps_that_leave_columns_out_are_followed(select: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((300, 4)).astype(np.float32)
    x[:, 0] *= 0.01  # every selection leaves it out, so that places move
    y = (x[:, 2] > 0.5).astype(int)
    model = make_pipeline(select, StandardScaler(), DecisionTreeClassifier(max_depth=4))
    model.fit(x[:HALF], y[:HALF])
    report = evaluate_robustness(model, x[HALF:], y[HALF:], Square(0.05, queries=8), bounds=(0, 1))
    assert report.certified is not None
    assert report.certified.hits == report.worst.hits < report.clean.hits


def test_repeated_rows_count_once_and_polars_is_a_frame_too(people: Any) -> None:
    frame, y = people
    model = fit(PIPELINES["one-hot, one tree"], frame, y)
    once = evaluate_robustness(model, frame[HALF:200], y[HALF:200], FEW, table=TABLE)
    twice = pd.concat([frame[HALF:200]] * 2, ignore_index=True)
    again = evaluate_robustness(model, twice, np.tile(y[HALF:200], 2), FEW, table=TABLE)
    assert (again.n, again.given, again.worst.hits) == (once.n, 100, once.worst.hits)
    assert again.data_digest != once.data_digest
    other = pl.DataFrame({name: frame[HALF:200][name].to_list() for name in frame.columns})
    polar = evaluate_robustness(model, other, y[HALF:200], FEW, table=TABLE)
    assert polar.worst.hits == once.worst.hits


def test_a_step_that_mixes_columns_leaves_no_proof_and_says_so(people: Any) -> None:
    frame, y = people
    numbers = frame[["age", "income"]]
    model = make_pipeline(PolynomialFeatures(2), RandomForestClassifier(5, random_state=0))
    model.fit(numbers[:HALF], y[:HALF])
    report = evaluate_robustness(model, numbers[HALF:], y[HALF:], FEW, table=Table(eps={"age": 2}))
    assert report.certified is None
    failed = {check.name: check.reason for check in report.checks if check.outcome == "fail"}
    assert "PolynomialFeatures" in failed["trees-read"]


@pytest.mark.parametrize(
    ("table", "bounds", "message"),
    [
        (Table(eps={"height": 2}), (0, 1), "no column 'height'"),
        (Table(eps={"job": 2}), (0, 1), "expected numbers"),
        (Table(eps={"age": 0.5}), (0, 1), "no other whole number"),
        (Table(eps={"age": 2}), {"age": (0, 50)}, "inside bounds"),
        (Table(eps={"age": 2}), {"age": 50}, "expected .low, high."),
        (Table(eps={}), (0, 1), "nothing may change"),
        (Table(categories={"job": "clerk"}), (0, 1), "got one text"),
    ],
)
def test_tables_that_do_not_fit_the_frame_are_refused(
    table: Table, bounds: Any, message: str, people: Any
) -> None:
    frame, y = people
    model = fit(PIPELINES["one-hot, one tree"], frame, y)
    with pytest.raises(UsageError, match=message):
        evaluate_robustness(model, frame, y, FEW, table=table, bounds=bounds)


def test_bounds_by_name_hold(people: Any) -> None:
    frame, y = people
    model = fit(PIPELINES["one-hot, one tree"], frame, y)
    report = evaluate_robustness(model, frame[HALF:], y[HALF:], FEW, table=Table(eps={"age": 9}),
                                 bounds={"age": (18, 90)})  # fmt: skip
    for figure in report.attacks.values():
        assert figure.examples["age"].between(18, 90).all()


def test_names_are_for_frames_and_one_column_is_one_thing() -> None:
    x = np.zeros((4, 2), np.float32)
    with pytest.raises(UsageError, match="column numbers"):
        Table(eps={"age": 2}).require_fits(x)
    with pytest.raises(UsageError, match="two things"):
        Table(eps={"age": 2}, immutable=("age",))
    with pytest.raises(UsageError, match="radius above 0"):
        Table(eps={"age": 0})
