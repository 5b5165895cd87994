from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch

from mlsecops import Baseline
from mlsecops.drift.tables.schema import InputSchema
from mlsecops.errors import UsageError

N = 300


def frame(seed: int = 0) -> pd.DataFrame:
    """A table as people have them: texts, gaps, decimals, lists and structs."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Riga"], N),
            "age": rng.normal(40, 9, N),
            "kids": pd.array([1, None, 2] * (N // 3), dtype="Int64"),
            "member": pd.array([True, None, False] * (N // 3), dtype="boolean"),
            "paid": [Decimal("1.5"), None, Decimal(2)] * (N // 3),
            "plan": pd.Categorical(rng.choice(["free", "pro"], N)),
            "note": [f"order {i} was sent to the customer" for i in rng.integers(0, 10**6, N)],
            "place": [{"x": float(x), "kind": {"name": "shop"}} for x in rng.normal(size=N)],
            "vector": [list(each) for each in rng.normal(size=(N, 3))],
            "basket": [["tea", "jam"], ["tea"], []] * (N // 3),
            "row": range(N),
        }
    )


TABLE = frame()
SCHEMA, _ = InputSchema.fit(TABLE)
ROWS = SCHEMA.rows(TABLE)


def same(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right, equal_nan=True))


def test_columns_of_every_kind_become_features_by_name() -> None:
    assert SCHEMA.names == (
        "city", "age", "kids", "member", "paid", "plan",
        "note.length", "note.letters", "note.digits", "note.surprise", "note.script",
        "place.x", "place.kind.name", "vector.0", "vector.1", "vector.2",
        "basket.length", "basket.first", "basket.last",
    )  # fmt: skip
    codes = [name for name, code in zip(SCHEMA.names, SCHEMA.categorical, strict=True) if code]
    assert codes == [
        "city",
        "plan",
        "note.script",
        "place.kind.name",
        "basket.first",
        "basket.last",
    ]
    assert SCHEMA.ignored == ("row",)
    assert ROWS.shape == (N, 19)
    assert np.isnan(ROWS[1, 2:5]).all()


@dataclasses.dataclass
class Order:
    city: str
    age: float


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t[t.columns[::-1]],
        pa.Table.from_pandas,
        lambda t: pl.from_pandas(t.drop(columns="paid")).with_columns(
            pl.Series("paid", t["paid"].tolist(), dtype=pl.Decimal(9, 2))
        ),
        lambda t: t.to_dict("records"),
        lambda t: {name: t[name] for name in t},
        lambda t: t.assign(more=1),
    ],
    ids=["columns in another order", "arrow", "polars", "records", "dict of columns", "one more"],
)
def test_the_same_table_in_another_container_has_the_same_rows(make: Any) -> None:
    assert same(SCHEMA.rows(make(TABLE)), ROWS)


def test_one_record_is_one_row_and_missing_columns_are_gaps() -> None:
    assert same(SCHEMA.rows(TABLE.iloc[0]), ROWS[:1])
    assert same(SCHEMA.rows(TABLE.to_dict("records")[0]), ROWS[:1])
    for record in ({"city": "Bern", "age": 3.0}, Order("Bern", 3.0)):
        row = SCHEMA.rows(record)
        assert row[0, 0] == -1.0  # a city that the reference does not have
        assert row[0, 1] == 3.0
        assert np.isnan(row[0, 2:]).all()


def test_features_that_were_read_before_are_taken_as_they_are() -> None:
    assert same(SCHEMA.rows(ROWS), ROWS)


def test_arrays_go_by_place_where_the_width_fits() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    by_name = Baseline.fit(pd.DataFrame(values, columns=["a", "b"]))
    assert by_name.names == ("a", "b")
    assert same(by_name.table(values), values)
    by_place = Baseline.fit(values)
    assert same(by_place.table(pd.DataFrame(values, columns=["a", "b"])), values)
    with pytest.raises(UsageError, match="expected shape"):
        by_name.table(values[:, :1])
    with pytest.raises(UsageError, match="expected the columns 'a', 'b', got 'c'"):
        by_name.table(pd.DataFrame({"c": [1.0]}))


@pytest.mark.parametrize(
    "rows",
    [
        scipy.sparse.csr_matrix(np.eye(4)),
        torch.eye(4, dtype=torch.bfloat16),
        torch.eye(4, requires_grad=True),
        np.eye(4).tolist(),
        np.eye(4, dtype=bool),
    ],
    ids=["sparse", "bf16", "with gradient", "lists", "booleans"],
)
def test_numbers_of_every_container_are_read(rows: Any) -> None:
    assert same(Baseline.fit(np.eye(4)).table(rows), np.eye(4))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.date_range("2024-01-01", periods=N), "column 'when': .* dates"),
        ([f"2024-01-{1 + i % 28:02d} 10:00" for i in range(N)], "column 'when': .* dates"),
        ([b"raw"] * N, "column 'when': .* bytes"),
        (np.ones(N) * 1j, "column 'when': .* complex"),
    ],
)
def test_columns_without_a_meaning_are_refused_by_name(column: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Baseline.fit(pd.DataFrame({"when": column, "a": range(N)}))


def test_dates_are_split_on_request_into_what_comes_again() -> None:
    when = pd.date_range("2024-01-01", periods=48, freq="h")
    schema, rows = InputSchema.fit(pd.DataFrame({"when": when}), dates="split")
    assert schema.names == ("when.hour", "when.weekday", "when.month")
    assert rows[25].tolist() == [1.0, 1.0, 1.0]  # Tuesday, 1 o'clock, January


def test_unseen_categories_are_a_share_and_drift() -> None:
    baseline = Baseline.fit(TABLE[["city", "age"]])
    later = frame(1)[["city", "age"]]
    later.loc[: N // 2, "city"] = "Bern"
    for found in (baseline.drift(later), baseline.drift(baseline.profile().update(later))):
        assert found.features["city"].unseen == pytest.approx(0.5, abs=0.01)
        assert found.features["city"].missing == 0
        assert found.features["age"].unseen == 0
        assert found.drifted == ("city",)
    usual = baseline.drift(frame(2)[["city", "age"]])
    assert (usual.drifted, usual.features["city"].unseen) == ((), 0.0)


def test_texts_in_another_language_drift() -> None:
    rng = np.random.default_rng(0)

    def texts(words: str) -> list[str]:
        return [" ".join(rng.choice(words.split(), 9)) for _ in range(400)]

    english = "the order was sent to you and will arrive with our next truck on monday"
    baseline = Baseline.fit(texts(english))
    assert baseline.names[0] == "text.length"
    assert not baseline.drift(texts(english)).drifted
    german = "die ware wurde an sie versandt und wird mit dem zug am montag eintreffen"
    assert "text.surprise" in baseline.drift(texts(german)).drifted
    assert "text.script" in baseline.drift(texts("заказ был отправлен вам в понедельник")).drifted


def test_large_pictures_are_watched_by_a_grid() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 200, (60, 48, 64, 3), dtype=np.uint8)
    baseline = Baseline.fit(pictures)
    assert baseline.shape == (48, 64, 3)
    assert len(baseline.names) == 3 * 64 + 6
    assert baseline.table(pictures[0]).shape == (1, 198)
    assert not baseline.drift(rng.integers(0, 200, (60, 48, 64, 3), dtype=np.uint8)).drifted
    darker = pictures.copy()
    darker[:, :6, :8] //= 4
    assert baseline.drift(darker).drifted[0].endswith("cell0.0")
    first = np.moveaxis(pictures, 3, 1)
    assert len(Baseline.fit(first).names) == 198


def test_a_table_baseline_is_saved_whole_and_reads_alike(tmp_path: Path) -> None:
    loaded = Baseline.load(Baseline.fit(TABLE).save(tmp_path / "b"))
    assert same(loaded.table(TABLE), ROWS)
    assert loaded.ignored == ("row",)
