"""Columns of 128-bit integers, which polars has and Arrow has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlsecops.provenance.content.arrays import Update, header

_BYTES: Final = 16  # bytes of a value


@dataclass(frozen=True, slots=True)
class WideIntegers:
    """Column of a data set in a polars series of type Int128 or UInt128."""

    name: str
    values: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        signed = str(self.values.dtype) == "Int128"
        rows: list[int | None] = self.values[start:stop].to_list()
        present = [value for value in rows if value is not None]
        nulls = len(rows) - len(present)
        update(header(self.name, "<i16" if signed else "<u16", [len(rows)], nulls=nulls))
        if nulls:
            update(bytes(value is not None for value in rows))
        update(b"".join(value.to_bytes(_BYTES, "little", signed=signed) for value in present))
        return len(present) * _BYTES
