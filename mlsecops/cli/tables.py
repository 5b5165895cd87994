"""Tables of commands: a file of columns, and what an attacker may change in them.

`.csv`, `.parquet` → data frame and labels; `--columns` → `Table`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.cli.values import radius
from mlsecops.errors import UsageError
from mlsecops.robustness import Table

SUFFIXES: Final = (".csv", ".parquet")
_SHOWN: Final = 8  # names of columns in an error message; chosen: one line


def read_frame(path: Path, label: str | None) -> tuple[Any, Any]:
    """The columns of a file as a data frame, and one of them as labels `(n,)`.

    Args:
        path: CSV with a header, or Parquet.
        label: Column of the labels.

    Raises:
        UsageError: The file cannot be read, or has no such column.
    """
    pandas = require("pandas")
    read = pandas.read_csv if path.suffix == ".csv" else pandas.read_parquet
    try:
        frame = read(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # pandas and pyarrow have no common error
        reason = str(error).partition("\n")[0][:200]
        raise UsageError(f"{path}: expected a table with a header: {reason}") from error
    names = list(map(str, frame.columns))
    if label is None or label not in names:
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        got = "none" if label is None else label[:60]
        raise UsageError(
            f"--label: expected a column of {path} ({shown}), got {got}; "
            "name the one with the answers"
        )
    return frame.drop(columns=label), frame[label].to_numpy()


def columns(text: str) -> dict[str, float | None]:
    """Names of columns, each with its radius or, for a category, without one.

    Examples:
        >>> columns("age=1,income=1/2,job")
        {'age': 1.0, 'income': 0.5, 'job': None}
    """
    found: dict[str, float | None] = {}
    for each in text.split(","):
        name, given, eps = each.rpartition("=") if "=" in each else (each, "", "")
        if not name.strip() or name.strip() in found:
            raise argparse.ArgumentTypeError(
                f"expected NAME=EPS or NAME, each once, separated by commas, got {text[:60]!r}"
            )
        found[name.strip()] = radius(eps) if given else None
    return found


def table_of(given: Sequence[dict[str, float | None]], *, by_number: bool) -> Table | None:
    """What an attacker may change; None where no column is named.

    Args:
        given: Columns of each `--columns`.
        by_number: Whether the data is an array, whose columns have numbers.

    Raises:
        UsageError: A column of an array is no number, or has no radius.
    """
    if not given:
        return None
    merged = {name: eps for each in given for name, eps in each.items()}
    radii: dict[Any, float] = {name: eps for name, eps in merged.items() if eps is not None}
    categories: list[str | int] = [name for name, eps in merged.items() if eps is None]
    if by_number:
        if odd := [name for name in merged if not name.isdecimal() or merged[name] is None]:
            raise UsageError(
                f"--columns: expected NUMBER=EPS for the columns of an array, got {odd[0]!r}; "
                "names and categories need a table (.csv, .parquet)"
            )
        radii = {int(name): eps for name, eps in radii.items()}
    return Table(eps=radii or None, categories=categories)
