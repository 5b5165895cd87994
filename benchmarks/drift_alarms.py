"""False alarms and delays of the default rule `drift`, on simulated services and shipped tables.

Services of ten rows a second without drift: independent rows, sessions of 5, 10 and 20 alike rows
(with references of the same kind, and of independent rows), a daily rhythm of ±0.6 standard
deviations with and without `time=`. Then San Francisco's temperatures (odd hours as reference,
even hours as traffic), NannyML's tables in their order, the jump in its car loans, and a shift of
0.25 standard deviations in one of 50 features. Evidently and NannyML get the same rows.

Run: python -m benchmarks.drift_alarms [--only services] [--days 7] [--kind NAME] [--trials 40];
tables and peers: make peers
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.shipped_tables import nannyml_tables, package_folder
from mlsecops import Baseline, monitored

Floats = NDArray[np.float64]
HOME = Path(__file__).parent
RATE, CALL, FEATURES, DAY = 10.0, 64, 10, 86_400.0
EVIDENTLY = """
import json, sys
import numpy as np, pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
known, fresh = (pd.read_parquet(path) for path in sys.argv[1:3])
windows = [fresh[i:i + 256] for i in np.linspace(0, len(fresh) - 256, 20).astype(int)]
def drifted(window):
    found = Report([DataDriftPreset()]).run(window, known).dict()["metrics"]
    return found[0]["value"]["count"] > 0
print(json.dumps([sum(map(drifted, windows)), len(windows)]))
"""
NANNYML = """
import json, sys
import pandas as pd, nannyml
known, fresh = (pd.read_parquet(path) for path in sys.argv[1:3])
names = list(known.columns)
made = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=256).fit(known)
found = made.calculate(fresh).filter(period="analysis").to_df()
alerts = found.xs("alert", axis=1, level=-1).any(axis=1)
print(json.dumps([int(alerts.sum()), len(alerts)]))
"""


class Watched(NamedTuple):
    """Alerts of the rule `drift`, by the rows before them."""

    alerts: list[int]
    rows: int


def watch(baseline: Baseline, calls: Iterator[tuple[Any, float]]) -> Watched:
    """Send calls with the Unix time of each through a monitored function."""
    now, rows, alerts = [0.0], 0, []

    def sink(alert: Any) -> None:
        if alert.rule == "drift" and alert.state == "firing":
            alerts.append(rows)

    predict = monitored("alarms", baseline=baseline, sinks=[sink], clock=lambda: now[0])(
        lambda _: None
    )
    for table, at in calls:
        now[0] = at
        rows += len(table)
        predict(table)
        predict.monitor.flush(60)
    predict.monitor.close()
    return Watched(sorted(set(alerts)), rows)


def service(
    make: Callable[[Floats], Floats], days: float, start: float = 0.0
) -> Iterator[tuple[Floats, float]]:
    """Calls of 64 rows, ten rows a second; `make` gets the times of the rows."""
    for call in range(int(days * DAY * RATE) // CALL):
        seconds = start + (call * CALL + np.arange(CALL)) / RATE
        yield make(seconds), float(seconds[-1])


def independent(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    return lambda seconds: rng.normal(size=(len(seconds), FEATURES))


def sessions(rng: np.random.Generator, length: int) -> Callable[[Floats], Floats]:
    """Ten sessions one after the other, each of alike rows: half of the variance is shared."""

    def make(seconds: Floats) -> Floats:
        rows = len(seconds)
        person = np.repeat(rng.normal(size=(-(-rows // length), FEATURES)), length, axis=0)[:rows]
        return np.sqrt(0.5) * person + np.sqrt(0.5) * rng.normal(size=(rows, FEATURES))

    return make


def rhythm(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    def make(seconds: Floats) -> Floats:
        rows = rng.normal(size=(len(seconds), FEATURES))
        rows[:, 0] += 0.6 * np.sin(2 * np.pi * seconds / DAY)
        return rows

    return make


def kinds() -> dict[str, Callable[[Floats], tuple[Callable[[Floats], Floats], Baseline]]]:
    """Services without drift by name; each is made of the times of a week's sample of rows."""
    made: dict[str, Callable[[Floats], tuple[Callable[[Floats], Floats], Baseline]]] = {}

    def add(name: str, make: Callable[..., Any], reference: Callable[..., Any]) -> None:
        made[name] = lambda week: (make, reference(make, week))

    def own(make: Any, _: Floats) -> Baseline:
        return Baseline.fit(make(np.zeros(10_000)))

    def plain(_: Any, week: Floats) -> Baseline:
        return own(independent(np.random.default_rng(10)), week)

    add("independent rows", independent(np.random.default_rng(0)), own)
    for length in (5, 10, 20):
        make = sessions(np.random.default_rng(length), length)
        add(f"sessions of {length}", make, own)
        add(f"sessions of {length}, independent reference", make, plain)
    make = rhythm(np.random.default_rng(1))
    add("daily rhythm, time=", make, lambda make, week: Baseline.fit(make(week), time=week))
    add("daily rhythm, order alone", make, lambda make, week: Baseline.fit(make(week)))
    return made


def services(days: float, only: str = "") -> None:
    """Alerts without drift."""
    week = np.sort(np.random.default_rng(2).uniform(0, 7 * DAY, 20_000))
    print(f"| {days:g} days at 10 rows a second | alerts | CPU seconds |\n|---|---|---|")
    for name, kind in kinds().items():
        if only and name != only:
            continue
        make, baseline = kind(week)
        began = time.process_time()
        found = watch(baseline, service(make, days, start=7 * DAY))
        spent = time.process_time() - began
        print(f"| {name} | {len(found.alerts)} | {spent:.0f} |", flush=True)


def in_order(table: Any, seconds: Floats) -> Iterator[tuple[Any, float]]:
    """Calls of 64 rows of a table at Unix times."""
    for start in range(0, len(table), CALL):
        part = slice(start, start + CALL)
        yield table[part], float(seconds[part][-1])


def shipped() -> None:
    """NannyML's tables: the second half of the reference, then what was analysed."""
    print("\n| table | alerts in the reference's second half | first alert in the analysis |")
    print("|---|---|---|")
    for name, (known, fresh, when) in nannyml_tables().items():
        half = len(known) // 2
        seconds = times(pd.concat([known, fresh]), when)
        baseline = Baseline.fit(known[:half], time=when)
        own = watch(baseline, in_order(known[half:], seconds[half : len(known)]))
        later = watch(Baseline.fit(known, time=when), in_order(fresh, seconds[len(known) :]))
        first = f"row {later.alerts[0]:,} of {later.rows:,}" if later.alerts else "none"
        print(f"| {name} | {len(own.alerts)} of {own.rows:,} rows | {first} |", flush=True)


def times(table: Any, when: str | None) -> Floats:
    """Unix times of a table's rows; ten rows a second without a column of times."""
    if when is None:
        return np.arange(len(table)) / RATE
    dates = pd.to_datetime(table[when], format="ISO8601").to_numpy()
    return dates.astype("datetime64[s]").astype(np.int64).astype(np.float64)


def temperatures() -> tuple[Any, Any] | None:
    """San Francisco's temperatures of a year at odd and at even hours; None if not installed."""
    home = package_folder("vega_datasets")
    if home is None:
        return None
    table = pd.read_csv(home / "_data" / "sf-temps.csv")
    return table[["temp"]][1::2], table[["temp"]][::2]


def delays(trials: int) -> None:
    """Rows until a shift of 0.25 standard deviations in one of 50 features raises an alert."""
    for before in (0, 4096):
        found = []
        for trial in range(trials):
            rng = np.random.default_rng(trial)
            baseline = Baseline.fit(rng.normal(size=(10_000, 50)))
            rows = rng.normal(size=(before + 1_024, 50))
            rows[before:, 7] += 0.25
            alerts = watch(baseline, in_order(rows, np.arange(len(rows)) / RATE)).alerts
            found.append(alerts[0] - before if alerts else 10**9)
        early = sum(each <= 0 for each in found)
        within = sum(0 < each <= 1_000 for each in found)
        print(
            f"0.25 sd in 1 of 50 features after {before} normal rows: within 1,000 rows in "
            f"{within} of {trials}, median {int(np.median(found))}, before the shift {early}",
            flush=True,
        )


def peers() -> None:
    """Windows of 256 rows without drift that peers flag in at least one column."""
    rng, even = np.random.default_rng(0), np.zeros(10_000)
    kinds = {
        "independent rows": (independent(rng)(even), independent(rng)(even)),
        "sessions of 10": (sessions(rng, 10)(even), sessions(rng, 10)(even)),
        "daily rhythm": (
            rhythm(rng)(np.sort(rng.uniform(0, 7 * DAY, 10_000))),
            rhythm(rng)(7 * DAY + np.arange(10_000) * 8.64),
        ),
    }
    tables = {name: tuple(map(named, pair)) for name, pair in kinds.items()}
    if (pair := temperatures()) is not None:
        tables["San Francisco's temperatures"] = pair
    loans = nannyml_tables().get("car loans")
    if loans is not None:
        known = loans[0].drop(columns=["id", "timestamp"])
        tables["car loans, reference in halves"] = known[:25_000], known[25_000:]
    print("\n| windows of 256 rows without drift | ours | Evidently | NannyML |\n|---|---|---|---|")
    for name, (known, fresh) in tables.items():
        ours = watch(Baseline.fit(known), in_order(fresh, np.arange(len(fresh)) / RATE))
        theirs = [flagged(peer, known, fresh) for peer in ("evidently", "nannyml")]
        print(f"| {name} | {len(ours.alerts)} alerts | {' | '.join(theirs)} |", flush=True)


def named(rows: Floats) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"f{i}" for i in range(rows.shape[1])])


def flagged(peer: str, known: Any, fresh: Any) -> str:
    """Windows that a peer flags, of how many."""
    python = HOME / f".env-{peer}" / "bin" / "python"
    if not python.exists():
        return "not installed"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("known.parquet", "fresh.parquet")]
        for path, table in zip(paths, (known, fresh), strict=True):
            table.reset_index(drop=True).to_parquet(path)
        script = EVIDENTLY if peer == "evidently" else NANNYML
        done = subprocess.run(
            [python, "-c", script, *paths], capture_output=True, text=True, check=False
        )
    if done.returncode:
        return "failed: " + done.stderr.strip().splitlines()[-1][:60]
    alarms, windows = json.loads(done.stdout.splitlines()[-1])
    return f"{alarms} of {windows}"


def main() -> None:
    """Print each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", choices=["services", "shipped", "delays", "peers"])
    parser.add_argument("--kind", default="", help="one service alone, by its name in the table")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "delays": lambda: delays(chosen.trials),
        "shipped": shipped,
        "peers": peers,
        "services": lambda: services(chosen.days, chosen.kind),
    }
    for name, part in parts.items():
        if chosen.only in {None, name}:
            part()


if __name__ == "__main__":
    main()
