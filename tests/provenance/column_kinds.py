"""Columns of every kind, held by pandas, polars, Arrow, CSV and Parquet: their digests as JSON.

python -m tests.provenance.column_kinds
"""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import csv, parquet

from mlsecops import hash_dataset

HOLDERS: Final = ("pyarrow", "pandas", "polars", "Parquet", "CSV")
_WHEN: Final = [dt.datetime(2026, 1, 2, 3, 4, 5), None, dt.datetime(1969, 12, 31)]  # noqa: DTZ001 - without a zone
_SPAN: Final = [dt.timedelta(days=1, seconds=2), None, dt.timedelta(seconds=-3)]
_OWN: Final = {
    **{
        getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")()
        for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
    },
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype("python"),
}
_OBJECTS: Final = ("decimal", "list", "struct", "map", "binary[3]", "fixed", "float16")
"""Beginnings of kinds whose exact type pandas' own types and objects do not say."""
_POLARS_LACKS: Final = ("timestamp[s]", "duration[s]", "decimal(50, 2)", "int64 dictionary")
"""Kinds that polars turns into others: milliseconds, 38 digits, plain integers."""
_PARQUET_LACKS: Final = ("timestamp[s]",)
"""Kinds that Parquet turns into others: milliseconds."""


def _integers() -> Iterator[tuple[str, pa.Array]]:
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        kind = getattr(pa, name)()
        yield name, pa.array([1, 0, 100], kind)
    yield "int64 with nulls", pa.array([1, None, -(2**62)], pa.int64())
    yield "uint64 with nulls", pa.array([1, None, 2**64 - 1], pa.uint64())


def _floats() -> Iterator[tuple[str, pa.Array]]:
    zero = np.zeros(1)
    with np.errstate(invalid="ignore"):
        computed = float((zero / zero)[0])
    for name, kind in (("float16", pa.float16()), ("float32", pa.float32())):
        values = np.array([1.5, computed, -0.0], kind.to_pandas_dtype())
        yield name, pa.array(values, kind)
    yield "float64", pa.array([1.5, float("inf"), -0.0])
    yield "float64 with 0/0", pa.array(np.array([1.5, computed, 2.0]))
    yield "float64 with nulls", pa.array([1.5, None, 2.0])


def _times() -> Iterator[tuple[str, pa.Array]]:
    for unit in ("s", "ms", "us", "ns"):
        yield f"timestamp[{unit}]", pa.array(_WHEN, pa.timestamp(unit))
    for unit in ("ms", "us", "ns"):
        yield f"timestamp[{unit}, UTC]", pa.array(_WHEN, pa.timestamp(unit, "UTC"))
    yield "timestamp[us, Europe/Oslo]", pa.array(_WHEN, pa.timestamp("us", "Europe/Oslo"))
    for unit in ("s", "ms", "us", "ns"):
        yield f"duration[{unit}]", pa.array(_SPAN, pa.duration(unit))
    yield "date", pa.array([dt.date(2026, 1, 2), None, dt.date(1969, 12, 31)])
    yield "time of day", pa.array([dt.time(1, 2, 3), None, dt.time(0)], pa.time64("us"))


def _words() -> Iterator[tuple[str, pa.Array]]:
    yield "boolean", pa.array([True, False, True])
    yield "boolean with nulls", pa.array([True, None, False])
    yield "text", pa.array(["é", "", "a,b\n"])
    yield "text with nulls", pa.array(["x", None, "z"])
    yield "large text", pa.array(["x", None, "z"], pa.large_string())
    yield "categories", pa.array(["x", "y", "x"]).dictionary_encode()
    yield "int64 dictionary", pa.array([7, 8, 7]).dictionary_encode()
    yield "binary", pa.array([b"\0x", None, b""])
    yield "binary[3]", pa.array([b"abc", None, b"\0\0\0"], pa.binary(3))
    yield "nothing but nulls", pa.nulls(3)


def _others() -> Iterator[tuple[str, pa.Array]]:
    amounts = [Decimal("1.10"), None, Decimal("-2.25")]
    yield "decimal(10, 2)", pa.array(amounts, pa.decimal128(10, 2))
    yield "decimal(50, 2)", pa.array(amounts, pa.decimal256(50, 2))
    yield "list of int32", pa.array([[1, 2], None, []], pa.list_(pa.int32()))
    yield "list of text", pa.array([["a", None], [], ["b"]])
    yield "list of lists", pa.array([[[1.0], []], None, [[2.0]]])
    yield "fixed list", pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2))
    yield "struct", pa.array([{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": 3, "b": None}])
    yield "list of structs", pa.array([[{"a": 1}], [], [{"a": 2}, {"a": 3}]])
    yield "map", pa.array([[("k", 1)], [], [("l", 2)]], pa.map_(pa.string(), pa.int64()))


def kinds() -> dict[str, pa.Array]:
    """Kind → a column of three rows of it."""
    parts = (_integers(), _floats(), _times(), _words(), _others())
    return {name: values for part in parts for name, values in part}


def holders(name: str, values: pa.Array) -> Iterator[tuple[str, Any]]:
    """A table in each library or format that can hold the kind, with numbers of its rows."""
    table = pa.table({"c": values, "row": pa.array([1, 2, 3])})
    makers: dict[str, Callable[[], Iterator[Any]]] = {
        "pyarrow": lambda: iter([table]),
        "pandas": lambda: _pandas(name, table),
        "polars": lambda: _polars(name, table),
        "Parquet": lambda: _parquet(name, table),
        "CSV": lambda: _csv(table),
    }
    for holder, make in makers.items():
        try:
            held = list(make())
        except (pa.ArrowException, NotImplementedError):
            continue
        for each in held:
            yield holder, each


def _pandas(name: str, table: pa.Table) -> Iterator[pd.DataFrame]:
    yield table.to_pandas(types_mapper=pd.ArrowDtype)
    if not name.startswith(_OBJECTS):
        yield table.to_pandas(types_mapper=_OWN.get)


def _polars(name: str, table: pa.Table) -> Iterator[pl.DataFrame]:
    if not name.startswith(_POLARS_LACKS):
        held = pl.from_arrow(table)
        assert isinstance(held, pl.DataFrame)
        yield held


def _parquet(name: str, table: pa.Table) -> Iterator[pa.Table]:
    if name.startswith(_PARQUET_LACKS):
        return
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    yield parquet.read_table(io.BytesIO(stream.getvalue()))


def _csv(table: pa.Table) -> Iterator[pa.Table]:
    stream = io.BytesIO()
    kind = table.schema[0].type
    plain = table
    if pa.types.is_dictionary(kind):
        plain = table.set_column(0, "c", table["c"].cast(kind.value_type))
    csv.write_csv(plain, stream)
    options = csv.ConvertOptions(
        column_types=plain.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    yield csv.read_csv(io.BytesIO(stream.getvalue()), convert_options=options, parse_options=parse)


def digests() -> dict[str, dict[str, list[str]]]:
    """Kind → holder → digests, of which all should be the same."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, values in kinds().items():
        for holder, table in holders(name, values):
            digest = str(hash_dataset(table, name="t").root)
            found.setdefault(name, {}).setdefault(holder, []).append(digest)
    wide = {"int128": (pl.Int128, [2**100, None, -1]), "uint128": (pl.UInt128, [2**127, 1, None])}
    for name, (kind, rows) in wide.items():
        frame = pl.DataFrame({"c": pl.Series(rows, dtype=kind)})
        found[name] = {"polars": [str(hash_dataset(frame, name="t").root)]}
    return found


if __name__ == "__main__":
    print(json.dumps(digests()))  # noqa: T201 - its result
