"""Runs of rows: their entries and names, and descriptions of differences between two data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from mlsecops.provenance.digest import Digest, new_hash
from mlsecops.provenance.entry import Diff, Entry

COLUMNS: Final = "[columns]"
"""Name of the entry that holds the names of a table's columns, in their order."""

ATTRIBUTES: Final = "[attributes]"
"""Name of the entry that holds the attributes of a stored array or group."""

_PART: Final = re.compile(r"(?P<column>.*)\[(?P<start>\d+):(?P<stop>\d+)\]", re.DOTALL)
_SHOWN: Final = 5  # names; chosen: a message stays one line


def part_name(column: str, start: int, stop: int) -> str:
    """Name of the rows of a column from `start` up to `stop`."""
    return f"{column}[{start}:{stop}]"


class Column(Protocol):
    """Column of a data set."""

    @property
    def name(self) -> str:
        """Name of the column."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def write(self, update: Callable[[Any], object], start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""


def row_entry(column: Column, start: int, stop: int, *, algorithm: str, first: int = 0) -> Entry:
    """Entry of some rows of a column, of which the first is row `first` of the data set."""
    running, header = new_hash(algorithm), b""

    def update(data: Any) -> None:
        nonlocal header
        header = header or bytes(data)
        running.update(data)

    size = column.write(update, start, stop)
    digest = Digest(algorithm, running.digest())
    name = part_name(column.name, first + start, first + stop)
    return Entry(name, digest, size, json.loads(header)["dtype"])


def part_of(name: str) -> tuple[str, int, int] | None:
    """Column, first row and end row (exclusive) of a part's name; None for another name."""
    match = _PART.fullmatch(name)
    return None if match is None else (match["column"], int(match["start"]), int(match["stop"]))


def is_part(name: str) -> bool:
    """Whether an entry is of data: rows of a column, or what a whole table has."""
    return part_of(name) is not None or name.rpartition("/")[2] in {COLUMNS, ATTRIBUTES}


def describe_rows(difference: Diff) -> str:
    """Describe a difference; rows added or removed at the end are reported as such.

    Examples:
        >>> describe_rows(Diff(added=("x[3:5]",)))
        'appended rows 3:5 of x'
    """
    added, removed = _by_column(difference.added), _by_column(difference.removed)
    appended = {name: rows for name, rows in added.items() if rows[0] and name not in removed}
    cut = {
        name: (added[name][1] if name in added else rows[0], rows[1])
        for name, rows in removed.items()
        if (name in added and added[name][1] < rows[1]) or (rows[0] and name not in added)
    }
    words = [*_runs("appended", appended), *_runs("missing", cut)]
    rest = Diff(
        added=_others(difference.added, appended.keys() | (cut.keys() & added.keys())),
        removed=_others(difference.removed, cut.keys()),
        changed=tuple(name for name in difference.changed if not _is_columns(name)),
    )
    if any(map(_is_columns, difference.changed)):
        words.append("changed names or order of columns")
    return "; ".join([str(rest), *words] if rest else words)


def _is_columns(name: str) -> bool:
    return name == COLUMNS or name.endswith(f"/{COLUMNS}")


def _by_column(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for part in map(part_of, names):
        if part is not None:
            column, start, stop = part
            first, last = spans.get(column, (start, stop))
            spans[column] = min(first, start), max(last, stop)
    return spans


def _others(names: Iterable[str], columns: Iterable[str]) -> tuple[str, ...]:
    described = frozenset(columns)
    parts = ((name, part_of(name)) for name in names)
    return tuple(name for name, part in parts if part is None or part[0] not in described)


def _runs(word: str, columns: dict[str, tuple[int, int]]) -> list[str]:
    by_rows: dict[tuple[int, int], list[str]] = {}
    for column, rows in columns.items():
        by_rows.setdefault(rows, []).append(column)
    return [
        f"{word} rows {start}:{stop} of {_some(sorted(names))}"
        for (start, stop), names in by_rows.items()
    ]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
