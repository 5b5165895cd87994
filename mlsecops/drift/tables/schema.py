"""Schema of a model's inputs or answers: what the reference looked like, to read later ones alike.

    reference → InputSchema.fit → InputSchema.rows(later table, record or array) → float64 (n, d)

Columns go by name where both sides have names, else by place. Columns that are missing later are
missing values; further columns are ignored. Arrays of encoded features, which `rows` returned, are
taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from mlsecops.drift.inputs import Bools, Floats, as_names, which
from mlsecops.drift.tables.column_kinds import encoder_for
from mlsecops.drift.tables.containers import Table, as_dense, named_columns, numbers
from mlsecops.drift.tables.dates import Dates
from mlsecops.drift.tables.encoders import (
    Encoder,
    NumberEncoder,
    TextEncoder,
    encoder_from_dict,
)
from mlsecops.drift.tables.pictures import is_picture, picture_features, picture_names
from mlsecops.errors import FormatRefused, UsageError

_MOST_COLUMNS: Final = 1_000_000  # columns; chosen: bounds what an untrusted file can ask for
_TABLE: Final = 2  # dimensions


@dataclass(frozen=True, kw_only=True, eq=False)
class InputSchema:
    """How a table becomes features.

    Attributes:
        columns: Name and encoder of each column; empty for arrays of plain numbers and pictures.
        shape: Shape of one input: `(8, 8)`, or the number of columns of a table.
        names: Names of the d features.
        categorical: Features whose numbers are codes without order `(d,)`.
        named: Whether the names are the table's, not by place.
        ignored: Columns that only number the rows.
    """

    columns: tuple[tuple[str, Encoder], ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    categorical: Bools
    named: bool
    ignored: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        x: Any,
        *,
        names: Sequence[str] | None = None,
        categorical: Iterable[str | int] = (),
        dates: Dates = "refuse",
        argument: str = "x",
    ) -> tuple[InputSchema, Floats]:
        """The schema of a reference, and its rows `(n, d)`, n ≥ 2.

        Raises:
            UsageError: It is no table, or a column has no meaning as features.
        """
        table, named = _columns(x, names)
        if table is None:
            return _of_array(x, names, categorical, argument)
        coded = _coded(table, categorical)
        columns, ignored = [], []
        for name, values in table.items():
            encoder = encoder_for(name, values, dates=dates, category=name in coded)
            if encoder is None:
                ignored.append(name)
            else:
                columns.append((name, encoder))
        if not columns:
            raise UsageError(f"{argument}: expected a column that does not only number the rows")
        features = [
            (name + part, code or name in coded)
            for name, each in columns
            for part, code in zip(each.parts, each.codes, strict=True)
        ]
        schema = cls(
            columns=tuple(columns),
            shape=(len(table),),
            names=as_names([name for name, _ in features], len(features)),
            categorical=np.array([code for _, code in features]),
            named=named,
            ignored=tuple(ignored),
        )
        rows = schema._by_name(table, reference=True)
        _check_size(rows, argument)
        return schema, rows

    @cached_property
    def _plain(self) -> bool:
        """Whether each feature is a column of numbers."""
        return all(isinstance(each, NumberEncoder) for _, each in self.columns)

    @cached_property
    def _picture(self) -> bool:
        return not self.columns and math.prod(self.shape) != len(self.names)

    def rows(self, x: Any) -> Floats:
        """Features `(n, d)` of later inputs; one input alone is one row.

        Raises:
            UsageError: The inputs are not of this schema.
        """
        if type(x) is np.ndarray and x.dtype.kind in "buf" and not self._picture:
            return self._by_place(x.astype(np.float64, copy=False))
        table = self._table(x)
        if table is not None:
            return self._by_name(table)
        return self._by_place(numbers(x))

    def _table(self, x: Any) -> Table | None:
        """Columns under this schema's names; None for an array without names."""
        if type(x) is np.ndarray and x.dtype.kind == "O" and x.ndim == _TABLE:
            table: Table | None = {str(i): x[:, i] for i in range(x.shape[1])}
        elif _is_row(x) and len(x) == len(self.columns):
            table = {str(i): [each] for i, each in enumerate(x)}
        else:
            table = named_columns(self._record(x))
        if table is None or not self.columns:
            return self._numbers_of(table)
        known = [name for name, _ in self.columns]
        if any(name in table for name in known):
            return table
        if len(table) == len(known):
            return dict(zip(known, table.values(), strict=True))
        raise UsageError(
            f"inputs: expected the columns {_listed(known)}, got {_listed(list(table))}"
        )

    def _record(self, x: Any) -> Any:
        """A row of a frame, `frame.iloc[0]`, as a record; anything else as it is."""
        if not hasattr(x, "iloc") or hasattr(x, "columns"):
            return x
        known = {name for name, _ in self.columns} or set(self.names)
        return x.to_dict() if known & {str(each) for each in x.index} else x

    def _numbers_of(self, table: Table | None) -> Table | None:
        """Columns for a schema of plain arrays: by name if all match, else by place."""
        if table is None:
            return None
        if set(self.names) <= set(table):
            return {name: table[name] for name in self.names}
        if len(table) != len(self.names):
            raise UsageError(
                f"inputs: expected {len(self.names)} columns, got {_listed(list(table))}"
            )
        return dict(zip(self.names, table.values(), strict=True))

    def _by_name(self, table: Table, *, reference: bool = False) -> Floats:
        count = max((len(each) for each in table.values()), default=0)
        parts = []
        for name, encoder in self.columns or [(name, NumberEncoder()) for name in self.names]:
            if name not in table:
                parts.append(np.full((count, len(encoder.parts)), np.nan))
                continue
            try:
                if reference and isinstance(encoder, TextEncoder):
                    parts.append(encoder.encode_reference(table[name]))
                else:
                    parts.append(encoder.encode(table[name]))
            except UsageError as error:
                raise UsageError(f"column {name!r}: {error}") from error
            except (TypeError, ValueError, OverflowError) as error:
                raise UsageError(f"column {name!r}: cannot be read: {error}"[:300]) from error
        return np.concatenate(parts, axis=1)

    def _by_place(self, values: Floats) -> Floats:
        if self._picture:
            return self._pictures(values)
        features, shape = len(self.names), self.shape
        if values.shape in {shape, (features,)} and math.prod(values.shape) == features:
            return values.reshape(1, features)
        if values.ndim > 1 and math.prod(values.shape[1:]) == features:
            return values.reshape(len(values), features)
        raise UsageError(f"inputs: expected shape (n, {shape}), got {values.shape}")

    def _pictures(self, values: Floats) -> Floats:
        if values.shape == self.shape:
            values = values[None]
        if values.shape[1:] == self.shape:
            return picture_features(values, self.shape)
        if values.shape[-1:] == (len(self.names),) and values.ndim <= _TABLE:
            return np.atleast_2d(values)  # encoded already
        raise UsageError(f"inputs: expected shape (n, {self.shape}), got {values.shape}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without names and codes, which the baseline has."""
        return {
            "columns": [[name, each.to_dict()] for name, each in self.columns],
            "shape": list(self.shape),
            "named": self.named,
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], names: tuple[str, ...], categorical: Bools
    ) -> InputSchema:
        """Rebuild a schema from untrusted values; raises `FormatRefused` or another error."""
        shape = tuple(int(size) for size in data["shape"])
        columns = tuple((str(name), encoder_from_dict(each)) for name, each in data["columns"])
        if len(columns) > _MOST_COLUMNS or any(size < 1 for size in shape):
            raise FormatRefused("baseline: names and shape do not fit together")
        made = cls(
            columns=columns,
            shape=shape,
            names=names,
            categorical=categorical,
            named=bool(data["named"]),
            ignored=tuple(str(each) for each in data["ignored"]),
        )
        if made.columns:
            expected: tuple[str, ...] = tuple(
                n + part for n, each in columns for part in each.parts
            )
        elif is_picture(shape) and math.prod(shape) != len(names):
            expected = picture_names(shape)
        else:
            expected = names if math.prod(shape) == len(names) else ()
        if expected != names:
            raise FormatRefused("baseline: names and shape do not fit together")
        return made


def _of_array(
    x: Any, names: Sequence[str] | None, categorical: Iterable[str | int], argument: str
) -> tuple[InputSchema, Floats]:
    """The schema of plain numbers or large pictures."""
    dense = as_dense(x)
    whole = dense if isinstance(dense, np.ndarray) else numbers(dense, argument)
    shape = whole.shape[1:] if whole.ndim > 1 else (1,)
    if is_picture(shape):
        numbers(whole[:1], argument)
        rows, known = picture_features(whole, shape), picture_names(shape)
    else:
        rows = numbers(whole, argument)
        shape = rows.shape[1:]
        rows = rows[:, None] if rows.ndim == 1 else rows
        _check_size(rows, argument)
        rows = rows.reshape(len(rows), -1)
        known = as_names(names, rows.shape[1])
    _check_size(rows, argument)
    schema = InputSchema(
        columns=(), shape=shape, names=known, categorical=which(categorical, known), named=False
    )
    return schema, rows


def _columns(x: Any, names: Sequence[str] | None) -> tuple[Table | None, bool]:
    """Columns of a reference and whether they have names of their own; None for plain arrays."""
    table = named_columns(x)
    if table is None:
        values = np.asarray(x) if isinstance(x, (list, tuple)) and _mixed(x) else x
        if not (isinstance(values, np.ndarray) and values.dtype.kind in "OUS"):
            return None, False
        if values.ndim != _TABLE:
            return None, False
        chosen = as_names(names, values.shape[1])
        return {name: values[:, i] for i, name in enumerate(chosen)}, names is not None
    if names is None:
        return table, True
    chosen = as_names(names, len(table))
    known = set(table)
    # Names that are the frame's, in another order, choose columns; others rename them.
    if set(chosen) == known:
        return {name: table[name] for name in chosen}, True
    return dict(zip(chosen, table.values(), strict=True)), True


def _coded(table: Table, categorical: Iterable[str | int]) -> set[str]:
    """Names of the columns that are categorical."""
    names = tuple(table)
    mask = which(categorical, names)
    return {name for name, code in zip(names, mask, strict=True) if code}


def _mixed(x: Sequence[Any]) -> bool:
    """Whether a list holds rows with texts or gaps among the numbers."""
    return bool(x) and _is_row(x[0])


def _is_row(x: Any) -> bool:
    """Whether a list or tuple is one row with texts or gaps in it."""
    if not isinstance(x, (list, tuple)) or not x:
        return False
    scalar = (str, int, float, bool, type(None))
    return all(isinstance(each, scalar) for each in x) and any(
        isinstance(each, str) or each is None for each in x
    )


def _check_size(rows: Floats, argument: str) -> None:
    if not rows.ndim or len(rows) < 2 or not rows[0].size:  # noqa: PLR2004 - a distribution needs two rows
        raise UsageError(
            f"{argument}: expected at least two rows of numbers, got shape {rows.shape}"
        )


def _listed(names: list[str]) -> str:
    text = ", ".join(map(repr, names[:8]))
    return text + (f" and {len(names) - 8} more" if len(names) > 8 else "")  # noqa: PLR2004 - what fits a line
