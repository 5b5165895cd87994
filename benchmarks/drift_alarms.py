"""False alarms and delays of the default rule `drift`, on simulated services and shipped tables.

Services of ten rows a second without drift: independent rows, sessions of 5, 10 and 20 alike rows
(with references of the same kind, and of independent rows), a daily rhythm of ±0.6 standard
deviations with and without `time=`. Then San Francisco's temperatures (odd hours as reference,
even hours as traffic), NannyML's tables in their order, the jump in its car loans, and a shift of
0.25 standard deviations in one of 50 features. Evidently, NannyML and alibi-detect get rows of
these kinds, the same for all, in windows of 1,000 (of the temperatures, 4,380 rows, 400).

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
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.shipped_tables import nannyml_tables, package_folder
from mlsecops import Baseline, monitored
from mlsecops.drift.alarms.alarm_rate import WEEKLY
from mlsecops.drift.alarms.sequential_test import SequentialTest
from mlsecops.drift.rolling_window import Recent, Window

Floats = NDArray[np.float64]
HOME = Path(__file__).parent
RATE, CALL, FEATURES, DAY = 10.0, 64, 10, 86_400.0
WINDOW = 1_000  # rows that every contestant gets at once
YEAR_WINDOW = 400  # hours, so that a year has more than ten windows
WINDOWS = 50  # of a service without drift, 83 minutes; Evidently takes a second for each
PEERS = {"Evidently": "evidently", "NannyML": "nannyml", "alibi-detect": "alibi"}


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


def tested(baseline: Baseline, calls: Iterator[tuple[Floats, float]]) -> Watched:
    """As `watch`, by the rule's own test alone: a week takes a minute of CPU, not three."""
    test = SequentialTest(baseline.inputs, baseline.order, rate=WEEKLY, window=Window())
    recent, held = Recent(baseline.layout, Window()), test.no_alarm()
    rows, alerts, drifts = 0, [], False
    for table, at in calls:
        _, newest = test.add(table, at - np.arange(len(table))[::-1] / RATE)
        rows += len(table)
        if recent.add(len(table), now=at, profile=newest, flagged=0, answers=np.empty((0, 3))):
            report, held = test.compare(recent.profile() or newest, held)
            if report.drifted and not drifts:
                alerts.append(rows)
            drifts = bool(report.drifted)
    return Watched(alerts, rows)


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
    """Alerts without drift, beside what the reference's report declares."""
    week = np.sort(np.random.default_rng(2).uniform(0, 7 * DAY, 20_000))
    print(f"| {days:g} days at 10 rows a second | alerts | allowed | shift found | CPU seconds |")
    print("|---|---|---|---|---|")
    for name, kind in kinds().items():
        if only and name != only:
            continue
        make, baseline = kind(week)
        began = time.process_time()
        found = tested(baseline, service(make, days, start=7 * DAY))
        spent = time.process_time() - began
        report = baseline.report()
        shift = "none" if report.largest_shift is None else f"{report.largest_shift:.2f} sd"
        cells = [name, str(len(found.alerts)), report.allowed, shift, f"{spent:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def in_order(table: Any, seconds: Floats, rows: int = CALL) -> Iterator[tuple[Any, float]]:
    """Calls of 64 or so many rows of a table at Unix times."""
    for start in range(0, len(table), rows):
        part = slice(start, start + rows)
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


class Stream(NamedTuple):
    """A reference with the times of its rows, and rows that follow, of which some drift."""

    known: Any
    fresh: Any
    drifts_at: int | None = None
    known_at: Floats | None = None
    fresh_at: Floats | None = None
    window: int = WINDOW


def streams() -> Iterator[tuple[str, Stream]]:
    """The rows that all contestants get."""
    rng, rows = np.random.default_rng(0), WINDOWS * WINDOW
    even = np.zeros(10_000)
    for name, make in (("independent", independent(rng)), ("sessions of 10", sessions(rng, 10))):
        yield name, Stream(named(make(even)), named(make(np.zeros(rows))))
    week = np.sort(rng.uniform(0, 7 * DAY, 10_000))
    now, make = 7 * DAY + np.arange(rows) / RATE, rhythm(rng)
    yield "daily rhythm", Stream(named(make(week)), named(make(now)), None, week, now)
    if (pair := temperatures()) is not None:
        yield "San Francisco's temperatures", Stream(*pair, window=YEAR_WINDOW)
    loans = nannyml_tables().get("car loans")
    if loans is not None:
        known, fresh = (table.drop(columns=["id", "timestamp"]) for table in loans[:2])
        yield "car loans, reference in halves", Stream(known[:25_000], known[25_000:])
        yield "car loans, jump after 25,000 rows", Stream(known, fresh, 25_000)
    for trial in range(5):
        rng = np.random.default_rng(trial)
        shifted = rng.normal(size=(8_000, 50))
        shifted[4_000:, 7] += 0.25
        known = named(rng.normal(size=(10_000, 50)))
        yield f"0.25 sd in 1 of 50 after 4,000 rows, {trial}", Stream(known, named(shifted), 4_000)


def peers(only: str = "") -> None:
    """Alarms and rows to detection, of us and of peers, on the same windows."""
    names = ["ours", *PEERS]
    print(f"\n| rows at once | windows | {' | '.join(names)} |")
    print(f"|{'---|' * (len(names) + 2)}")
    for name, stream in streams():
        if not name.startswith(only):
            continue
        cells = [_described(each, stream) for each in [ours(stream), *theirs(stream)]]
        windows = -(-len(stream.fresh) // stream.window)
        print(f"| {name} | {windows} of {stream.window:,} | {' | '.join(cells)} |", flush=True)


def ours(stream: Stream) -> list[bool]:
    """Windows in which the rule `drift` raised an alert."""
    at = np.arange(len(stream.fresh)) / RATE if stream.fresh_at is None else stream.fresh_at
    baseline = Baseline.fit(stream.known, time=stream.known_at)
    alerts = watch(baseline, in_order(stream.fresh, at, stream.window)).alerts
    return [
        any(start < each <= start + stream.window for each in alerts)
        for start in range(0, len(stream.fresh), stream.window)
    ]


def _described(flags: list[bool] | str, stream: Stream) -> str:
    """Alarms (flagged windows after one that is not), and rows until drift is flagged."""
    if isinstance(flags, str):
        return flags
    calm = flags if stream.drifts_at is None else flags[: stream.drifts_at // stream.window]
    alarms = sum(now and not before for before, now in pairwise([False, *calm]))
    text = f"{alarms} alarms, {sum(calm)} of {len(calm)} windows"
    if stream.drifts_at is None:
        return text
    found = next((i for i, flag in enumerate(flags[len(calm) :], 1) if flag), None)
    return f"{text}; found in {found * stream.window:,} rows" if found else f"{text}; not found"


def named(rows: Floats) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"f{i}" for i in range(rows.shape[1])])


def theirs(stream: Stream) -> Iterator[list[bool] | str]:
    """Windows that each peer flags, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("known.parquet", "fresh.parquet")]
        for path, table in zip(paths, (stream.known, stream.fresh), strict=True):
            table.reset_index(drop=True).to_parquet(path)
        for name in PEERS.values():
            python = HOME / f".env-{name}" / "bin" / "python"
            if not python.exists():
                yield "not installed"
                continue
            script = HOME / "peers" / "drift_windows.py"
            words = [python, "-W", "ignore", script, name, *paths, str(stream.window)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                yield "failed: " + done.stderr.strip().splitlines()[-1][:60]
            else:
                yield json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", choices=["services", "shipped", "delays", "peers"])
    parser.add_argument(
        "--kind",
        default="",
        help="a service, or how rows for peers begin, by the table's name",
    )
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "delays": lambda: delays(chosen.trials),
        "shipped": shipped,
        "peers": lambda: peers(chosen.kind),
        "services": lambda: services(chosen.days, chosen.kind),
    }
    for name, part in parts.items():
        if chosen.only in {None, name}:
            part()


if __name__ == "__main__":
    main()
