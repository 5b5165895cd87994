"""Tables that packages ship, fitted and watched as they are: what is read, ignored and alarmed.

NannyML's eight tables (with `time=` where they have times), river's sets, and ten of scikit-learn,
statsmodels and vega_datasets. The first half is the reference; the second is watched in calls of 64
rows, once in its order and once with all rows shuffled beforehand, which leaves no drift to find.

Run: python -m benchmarks shipped_tables; the packages: make peers
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlsecops import Baseline, monitored
from mlsecops.errors import UsageError

HOME = Path(__file__).parent
CALL = 64
NANNYML = {
    "binary classification": ("synthetic_sample", "timestamp"),
    "multiclass classification": ("mc", "timestamp"),
    "car loans": ("synthetic_car_loan", "timestamp"),
    "car loans, data quality": ("synthetic_car_loan_dq", "timestamp"),
    "car prices": ("regression_synthetic", "timestamp"),
    "California housing": ("california_housing", "timestamp"),
    "Titanic": ("titanic", None),
    "employment in Massachusetts": ("employment_MA", None),
}
RIVER = [
    "datasets/airline-passengers.csv", "datasets/chick-weights.csv", "datasets/water-flow.csv",
    "datasets/phishing.csv.gz", "datasets/shuttle.csv.gz", "datasets/sp500.csv.gz",
    "datasets/trump_approval.csv.gz", "datasets/yeast.csv.gz", "datasets/segment.csv.zip",
    "datasets/solar-flare.csv.zip", "drift/datasets/occupancy.csv", "drift/datasets/apple.csv",
    "drift/datasets/bitcoin.csv", "drift/datasets/brent_crude_oil.csv",
    "drift/datasets/run_log.csv", "drift/datasets/uk_coal_employment.csv",
]  # fmt: skip
STATSMODELS = ["fair/fair.csv", "anes96/anes96.csv", "randhie/randhie.csv", "heart/heart.csv"]
VEGA = ["airports.csv", "seattle-weather.csv", "us-employment.csv"]
SKLEARN = ["iris", "wine", "breast_cancer", "digits", "diabetes"]


def package_folder(name: str) -> Path | None:
    """Folder of a package in this environment or in one of the peers'; None if in none."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin:
        return Path(found.origin).parent
    return next(iter(sorted(HOME.glob(f".env-*/lib/python*/site-packages/{name}"))), None)


def nannyml_tables() -> dict[str, tuple[Any, Any, str | None]]:
    """Reference, analysis and column of times of each table, with the columns they share."""
    home = package_folder("nannyml")
    if home is None:
        return {}
    found = {}
    for title, (name, when) in NANNYML.items():
        paths = [
            home / "datasets" / "data" / f"{name}_{part}" for part in ("reference", "analysis")
        ]
        known, fresh = (_read(next(iter(path.parent.glob(path.name + ".*")))) for path in paths)
        shared = [column for column in known.columns if column in fresh.columns]
        found[title] = known[shared], fresh[shared], when
    return found


def _read(path: Path) -> Any:
    return pd.read_parquet(path) if path.suffix == ".pq" else pd.read_csv(path)


def tables() -> Iterator[tuple[str, Any, str | None]]:
    """Name, table and column of times."""
    for title, (known, _, when) in nannyml_tables().items():
        yield f"NannyML: {title}", known, when
    for package, names in (("river", RIVER), ("statsmodels", STATSMODELS), ("vega_datasets", VEGA)):
        home = package_folder(package)
        inner = {"statsmodels": "datasets", "vega_datasets": "_data"}.get(package, "")
        for name in names if home is not None else ():
            yield f"{package}: {Path(name).name}", _table(home / inner / name), None  # type: ignore[operator] # not None
    datasets = importlib.import_module("sklearn.datasets")
    for name in SKLEARN:
        yield f"scikit-learn: {name}", getattr(datasets, f"load_{name}")(as_frame=True).frame, None


def _table(path: Path) -> Any:
    comma = path.suffix != ".csv"  # some of the others are separated by semicolons
    return pd.read_csv(path) if comma else pd.read_csv(path, sep=None, engine="python")


def watched(known: Any, fresh: Any, options: dict[str, Any]) -> tuple[Baseline, Any]:
    """Fit one part and watch the other; returns the baseline and the monitor's state."""
    baseline = Baseline.fit(known, **options)
    now = [0.0]
    predict = monitored("shipped", baseline=baseline, clock=lambda: now[0])(lambda _: None)
    for start in range(0, len(fresh), CALL):
        now[0] += CALL / 10
        predict(fresh[start : start + CALL])
        predict.monitor.flush(60)
    state = predict.monitor.snapshot()
    predict.monitor.close()
    return baseline, state


def row(name: str, table: Any, when: str | None) -> str:
    """One line of the report."""
    options: dict[str, Any] = {} if when is None else {"time": when}
    note, began = "" if when is None else f"`time={when!r}`", time.monotonic()
    try:
        Baseline.fit(table, **options)
    except UsageError as error:
        if "dates" not in str(error):
            return f"| {name} | {len(table):,} × {table.shape[1]} | refused: {error} | | | |"
        options, note = options | {"dates": "split"}, note or "`dates='split'`"
    took = time.monotonic() - began
    half = len(table) // 2
    _, ordered = watched(table[:half], table[half:], options)
    mixed = table.sample(frac=1.0, random_state=np.random.default_rng(0)).reset_index(drop=True)
    baseline, state = watched(mixed[:half], mixed[half:], options)
    alerts = [sum(each.rule == "drift" for each in s.alerts) for s in (ordered, state)]
    unread = ordered.unread_inputs + state.unread_inputs + ordered.failures + state.failures
    about = f"{len(baseline.names)}{' ' + note if note else ''}"
    size = f"{len(table):,} × {table.shape[1]}"
    return f"| {name} | {size} | {about} | {took:.1f} | {unread} | {alerts[0]} | {alerts[1]} |"


def main() -> None:
    """Print the table."""
    print("| table | rows × columns | features | fit, s | unread | alerts in order | shuffled |")
    print("|---|---|---|---|---|---|---|")
    for name, table, when in tables():
        print(row(name, table, when), flush=True)


if __name__ == "__main__":
    main()
