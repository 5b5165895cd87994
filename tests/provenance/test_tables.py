from __future__ import annotations

import datetime as dt
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import Digest, Manifest, hash_dataset
from mlsecops.provenance.content.parts import ROWS_PER_ENTRY

COLUMNS: dict[str, np.ndarray[Any, Any]] = {
    "i": np.arange(5, dtype=np.int32),
    "u": np.arange(5, dtype=np.uint8),
    "f": np.array([1.5, np.nan, -0.0, np.inf, 4]),
    "s": np.array(["x", "yy", "", "é", "z"]),
    "b": np.array([True, False, True, True, False]),
    "t": np.array(["2020-01-01", "NaT", "2020-01-03", "2020-01-04", "1969-12-31"], "M8[us]"),
    "d": np.array([1, 2, 3, 4, 5], "m8[ms]"),
}
NESTED = {
    "zone": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None],
    "decimal": [Decimal("1.10"), None],
    "list": [[1, 2], None],
    "struct": [{"q": 1}, {"q": None}],
    "floats": [[1.0, None], []],
    "date": [dt.date(2020, 1, 1), None],
    "time": [dt.time(1, 2, 3), None],
    "text": ["a", None],
    "bytes": [b"a", None],
    "deep": [[["a"], []], None],
}


def root(data: Any) -> Digest:
    return hash_dataset(data, name="t").root


def holders() -> dict[str, Any]:
    frame = pd.DataFrame(COLUMNS)
    return {
        "pandas": frame,
        "pandas nullable": frame.astype({"i": "Int32", "u": "UInt8", "b": "boolean"}),
        "pandas arrow": frame.astype({"s": pd.ArrowDtype(pa.string())}),
        "pandas objects": frame.astype({"s": object}),
        "pandas categories": frame.astype({"s": "category"}),
        "polars": pl.DataFrame(COLUMNS),
        "polars from pandas": pl.from_pandas(frame),
        "polars categories": pl.DataFrame(COLUMNS).with_columns(pl.col("s").cast(pl.Categorical)),
        "pyarrow": pa.table(COLUMNS),
        "pyarrow from pandas": pa.Table.from_pandas(frame),
        "pyarrow batch": pa.RecordBatch.from_pydict(COLUMNS),
        "structured": np.rec.fromarrays(list(COLUMNS.values()), names=list(COLUMNS)),
    }


@pytest.mark.parametrize("name", list(holders()))
def test_the_same_rows_have_the_same_digest_whichever_library_holds_them(name: str) -> None:
    expected = hash_dataset(COLUMNS, name="t")
    assert not expected.diff(hash_dataset(holders()[name], name="t"))


def test_nested_and_missing_values_agree_between_arrow_and_polars() -> None:
    table = pa.table(NESTED)
    assert root(table) == root(pl.from_arrow(table))


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.string_view()),
    ],
    ids=str,
)
def test_how_text_is_laid_out_leaves_no_trace(kind: pa.DataType) -> None:
    plain = pa.array(["a", None, "", "a", "é"])
    assert root({"c": plain}) == root({"c": plain.cast(kind)})


@pytest.mark.parametrize("make", [pa.large_list, pa.list_view, pa.large_list_view])
def test_how_lists_are_laid_out_leaves_no_trace(make: Any) -> None:
    rows = [[1, 2], None, [], [3, None]]
    assert root({"c": pa.array(rows)}) == root({"c": pa.array(rows, make(pa.int64()))})


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.time64("us"), pa.time64("ns")], ids=str)
def test_the_unit_of_a_time_of_day_leaves_no_trace(kind: pa.DataType) -> None:
    times = pa.array([dt.time(1, 2, 3), None], pa.time32("ms"))
    assert root({"c": times}) == root({"c": times.cast(kind)})


def test_run_lengths_and_wider_decimals_leave_no_trace() -> None:
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])
    assert root({"c": runs}) == root({"c": pa.array(["a", "a", "b"])})
    amounts = pa.array([Decimal("1.10"), None])
    wide = amounts.cast(pa.decimal256(3, 2))
    assert root({"c": amounts}) == root({"c": wide})


@given(st.lists(st.integers(0, 10), max_size=4))
def test_chunks_and_slices_leave_no_trace(cuts: list[int]) -> None:
    values = pa.array([1, None, 3, 4, None, 6, 7, 8, 9, 10])
    words = pa.array(["a", "bb", None, "", "e", "f", "g", "h", "é", "j"])
    lists = pa.array([[i] * (i % 3) if i != 4 else None for i in range(10)])
    whole = pa.table({"v": values, "w": words, "l": lists, "b": values.is_valid()})
    edges = [0, *sorted(cuts), 10]
    pieces = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    assert root(pa.concat_tables(pieces)) == root(whole)
    padded = pa.concat_tables([whole.slice(3), whole])
    assert root(padded.slice(7)) == root(whole)


def test_dictionaries_that_differ_from_chunk_to_chunk_leave_no_trace() -> None:
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()]
    assert root({"c": pa.chunked_array(chunks)}) == root({"c": pa.array(["a", "b", "c", "a"])})


def test_an_array_of_many_dimensions_is_lists_of_fixed_length() -> None:
    cube = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(cube.reshape(-1)), 2)
    lists = pa.FixedSizeListArray.from_arrays(flat, 3)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(cube)
    assert root({"x": cube}) == root({"x": lists}) == root({"x": tensor})
    assert root({"x": cube}) == root(pl.DataFrame({"x": cube}))


DIFFERENT = {
    "value": {"a": pa.array([1, 3]), "b": pa.array(["x", "y"])},
    "null for zero": {"a": pa.array([1, None]), "b": pa.array(["x", "y"])},
    "type": {"a": pa.array([1, 2], pa.int32()), "b": pa.array(["x", "y"])},
    "binary for text": {"a": pa.array([1, 2]), "b": pa.array([b"x", b"y"])},
    "null for empty text": {"a": pa.array([1, 2]), "b": pa.array(["x", None])},
    "text cut elsewhere": {"a": pa.array([1, 2]), "b": pa.array(["xy", ""])},
    "column order": {"b": pa.array(["x", "y"]), "a": pa.array([1, 2])},
    "column name": {"c": pa.array([1, 2]), "b": pa.array(["x", "y"])},
    "row order": {"a": pa.array([2, 1]), "b": pa.array(["y", "x"])},
    "a row more": {"a": pa.array([1, 2, 3]), "b": pa.array(["x", "y", "z"])},
    "lists": {"a": pa.array([[1], [2]]), "b": pa.array(["x", "y"])},
}


@pytest.mark.parametrize("name", list(DIFFERENT))
def test_what_differs_has_another_digest(name: str) -> None:
    assert root(DIFFERENT[name]) != root({"a": pa.array([1, 2]), "b": pa.array(["x", "y"])})


@pytest.mark.parametrize(
    "kinds",
    [
        (pa.timestamp("us"), pa.timestamp("ms")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Oslo")),
        (pa.duration("us"), pa.timestamp("us")),
        (pa.time64("us"), pa.int64()),
        (pa.int64(), pa.uint64()),
        (pa.decimal128(10, 2), pa.decimal128(10, 3)),
    ],
    ids=str,
)
def test_unit_zone_and_scale_are_part_of_the_digest(kinds: tuple[Any, Any]) -> None:
    first, second = (pa.nulls(2, kind) for kind in kinds)
    assert root({"c": first}) != root({"c": second})


def test_nothing_but_nulls_is_not_as_many_zeros() -> None:
    assert root({"c": pa.nulls(4, pa.int8())}) != root({"c": np.zeros(4, np.int8)})


def test_in_a_column_of_floats_null_is_nan_and_elsewhere_it_is_not() -> None:
    assert root({"c": pa.array([1.0, None])}) == root({"c": np.array([1.0, np.nan])})
    assert root({"c": pa.array(["nan"])}) != root({"c": pa.array([None], pa.string())})


def test_a_list_and_a_flat_column_cannot_be_taken_for_each_other() -> None:
    shifted = [{"c": pa.array([[1, 2], [3]])}, {"c": pa.array([[1], [2, 3]])}]
    nested = [{"c": pa.array([[None], []])}, {"c": pa.array([None, [None]])}]
    assert len({root(data) for data in (*shifted, *nested)}) == 4


words = st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=6)


@given(words, words)
def test_two_columns_agree_exactly_when_their_values_do(
    first: list[str | None], second: list[str | None]
) -> None:
    same = root({"c": pa.array(first, pa.string())}) == root({"c": pa.array(second, pa.string())})
    assert same == (first == second)


def recorded() -> Manifest:
    return hash_dataset({"x": np.arange(1797), "y": np.arange(1797)}, name="digits")


def test_appended_rows_show_as_appended() -> None:
    grown = {"x": np.arange(1800), "y": np.arange(1800)}
    with pytest.raises(errors.DigestMismatch, match="appended rows 1797:1800 of x, y;") as caught:
        recorded().verify(grown)
    assert caught.value.added == ("x[1797:1800]", "y[1797:1800]")
    assert caught.value.changed == caught.value.removed == ()


def test_rows_that_are_gone_show_as_missing() -> None:
    cut = {"x": np.arange(1790), "y": np.arange(1790)}
    with pytest.raises(errors.DigestMismatch, match="missing rows 1790:1797 of x, y;"):
        recorded().verify(cut)


def test_appended_rows_do_not_hide_a_change_in_those_before() -> None:
    grown = {"x": np.arange(1800), "y": np.arange(1800)}
    grown["y"][3] = 0
    with pytest.raises(errors.DigestMismatch, match=r"changed 'y\[0:1797\]'; appended") as caught:
        recorded().verify(grown)
    assert caught.value.changed == ("y[0:1797]",)


def test_a_manifest_that_grew_in_pieces_verifies_the_same_data() -> None:
    data = {"x": np.arange(ROWS_PER_ENTRY * 2 + 7)}
    manifest = hash_dataset(data, name="d")
    assert [entry.name for entry in manifest][1:] == [
        "x[0:65536]",
        "x[131072:131079]",
        "x[65536:131072]",
    ]
    assert manifest.verify(pl.DataFrame(data)) == manifest


def test_columns_that_are_exchanged_are_told() -> None:
    data = {"y": np.arange(1797), "x": np.arange(1797)}
    with pytest.raises(errors.DigestMismatch, match="names or order of columns"):
        recorded().verify(data)


def computed_nan() -> np.ndarray[Any, Any]:
    """The NaN of 0/0, whose sign bit processors set as they like, and others with a payload."""
    bits = np.array([0xFFF8000000000000, 0x7FF8000000000000, 0x7FF8000000000007], np.uint64)
    return bits.view(np.float64)


def test_every_nan_of_a_column_is_the_same() -> None:
    for kind in ("f2", "f4", "f8", ">f8"):
        rows = np.array([np.nan, 1.0, np.nan]).astype(kind)
        assert root({"c": rows}) == root({"c": np.where(np.isnan(rows), -rows, rows).astype(kind)})
        assert root({"c": rows}) != root({"c": np.array([np.nan, 2.0, np.nan]).astype(kind)})
    parts = np.array([np.nan, 2.0])
    assert root(parts.view("c16")) == root((parts * [-1, 1]).view("c16"))
    assert len({root(computed_nan()[at : at + 1]) for at in range(3)}) == 1
    nested = pa.FixedSizeListArray.from_arrays(pa.array(computed_nan()), 3)
    assert root({"c": nested}) == root({"c": np.full((1, 3), np.nan)})
    assert root(np.array([-0.0])) != root(np.array([0.0]))


def test_a_series_is_a_table_of_its_column() -> None:
    expected = root({"y": np.array([1, 2])})
    assert root(pd.Series([1, 2], name="y")) == root(pl.Series("y", [1, 2])) == expected
    unnamed = root(np.array([1, 2]))
    for each in (
        pd.Series([1, 2]),
        pl.Series([1, 2]),
        pa.array([1, 2]),
        pa.chunked_array([[1, 2]]),
    ):
        assert root(each) == unnamed
    assert root({"y": pd.Series([1, 2]), "z": pl.Series(["a", "b"])}) == root(
        pl.DataFrame({"y": [1, 2], "z": ["a", "b"]})
    )


def test_integers_of_128_bits_have_a_digest() -> None:
    def of(kind: Any, *values: int | None) -> Digest:
        return root(pl.DataFrame({"c": pl.Series(values, dtype=kind)}))

    assert of(pl.Int128, 2**100, -1) != of(pl.Int128, 2**100, 1)
    assert of(pl.Int128, 1, None) != of(pl.Int128, 1, 0)
    assert of(pl.Int128, 1) != of(pl.UInt128, 1)


def test_splits_have_names_of_their_own() -> None:
    train, test = pd.DataFrame({"a": [1, 2, 3]}), pd.DataFrame({"a": [4]})
    manifest = hash_dataset({"train": train, "test": pl.from_pandas(test)}, name="d")
    assert [entry.name for entry in manifest] == [
        "test/[columns]",
        "test/a[0:1]",
        "train/[columns]",
        "train/a[0:3]",
    ]
    assert manifest.verify({"train": train, "test": test}) == manifest
    grown = pd.concat([train, test], ignore_index=True)
    with pytest.raises(errors.DigestMismatch, match="appended rows 3:4 of train/a"):
        manifest.verify({"train": grown, "test": test})
    renamed = test.rename(columns={"a": "b"})
    with pytest.raises(errors.DigestMismatch, match="changed names or order of columns"):
        manifest.verify({"train": train, "test": renamed})


def test_extension_types_are_hashed_as_what_they_mean() -> None:
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))
    assert root({"c": flags}) == root({"c": np.array([True, False])})
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", "1"]))
    assert root({"c": texts}) == root({"c": pa.array(["{}", "1"])})
    months = pd.DataFrame({"c": pd.period_range("2026-01", periods=2, freq="M")})
    days = pd.DataFrame({"c": pd.PeriodIndex(months["c"].array.asfreq("D"))})
    assert len({root(months), root(days), root({"c": months["c"].array.asi8})}) == 3
    assert root(pd.DataFrame({"c": pd.arrays.SparseArray([0, 0, 1])})) == root(
        {"c": np.array([0, 0, 1])}
    )


TURNED = pa.ExtensionArray.from_storage(
    pa.fixed_shape_tensor(pa.int64(), [2, 3], permutation=[1, 0]),
    pa.array([range(6)], pa.list_(pa.int64(), 6)),
)
FOREIGN_WORDS = pa.DictionaryArray.from_arrays(
    pa.array([0, 7], pa.int32()), pa.array(["a", "b"]), safe=False
)
"""Rows that name words behind the end of their dictionary, as a forged file holds them."""


class Failing:
    """A table of another library, which fails as it is read."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise RuntimeError("connection lost")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Failing(), "data set 'd' cannot be read as a table: RuntimeError: connection lost"),
        (
            pl.DataFrame({"t": pl.Series([object()], dtype=pl.Object)}),
            "column 't': expected Python",
        ),
        (pl.DataFrame({"t": [[2**70]]}, schema={"t": pl.List(pl.Int128)}), "column 't' cannot be"),
        (pd.Series([1], index=["row"], name="y"), "'y' has an index that holds data"),
        (pd.DataFrame({"a": [1]}, index=["row"]), "reset_index"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([1], name="id")), "reset_index"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "is repeated"),
        (pd.DataFrame({"a": [1, "x"]}), "Python objects of one plain type"),
        (pd.DataFrame({"a": [object()]}), "Python objects of one plain type"),
        (pa.table([[1], [2]], names=["a", "a"]), "is repeated"),
        ({"a": np.ma.masked_array([1, 2], [True, False])}, "masked"),
        ({"a": np.zeros(2, np.longdouble)}, "padding"),
        ({"a": np.array(["\ud800"])}, "valid Unicode"),
        ({"a": [1, 2]}, "expected a numpy or Arrow array"),
        ({"a": pa.array([1, 2]), "b": pa.array([1])}, "one length"),
        ({"a": pa.nulls(1, pa.month_day_nano_interval())}, "cannot be hashed"),
        (pl.LazyFrame({"a": [1]}), "cannot hash a data set of type"),
        ({"a": np.array(1.0)}, "'a': expected rows, got a single value"),
        ({"a": TURNED}, "expected tensors in row order"),
        ({"a": FOREIGN_WORDS}, "column 'a' cannot be hashed .Arrow type dictionary"),
    ],
)
def test_data_without_a_content_of_its_own_is_refused(data: Any, said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        hash_dataset(data, name="d")


def test_rows_selected_from_a_frame_have_the_digest_of_those_rows() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert root(frame[frame.a > 1]) == root({"a": np.array([2, 3])})


def test_numeric_frames_and_arrays_need_no_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mlsecops.provenance.content.columns.require", lambda name: pytest.fail(f"imported {name}")
    )
    root(pd.DataFrame({"a": [1.0, 2.0], "b": [True, False]}))
    root({"s": np.array(["a", "b"])})


def test_a_plain_arrays_digest_stays_what_it_was() -> None:
    manifest = hash_dataset(np.arange(6, dtype=np.float32).reshape(3, 2), name="d")
    expected = b'{"column": "array", "dtype": "<f4", "shape": [3, 2]}\n'
    content = expected + np.arange(6, dtype="<f4").tobytes()
    assert manifest["array[0:3]"] == Digest.of(content)
