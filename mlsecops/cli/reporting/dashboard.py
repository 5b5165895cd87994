"""Command `mlsecops dashboard`: snapshots → dashboard.json, dashboard.html and alerts.yml."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.inputs import read_json, write_files
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.reports import dashboard_files

EXAMPLE = "mlsecops dashboard --out monitoring/ --window 15s"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    parser.add_argument(
        "--window", metavar="15s", help="time window of the alert rules, such as 15s"
    )
    parser.add_argument("--name", default="model", help="name of the monitor")
    parser.add_argument(
        "--snapshot", nargs="+", action="extend", type=Path, default=[], metavar="F.json",
        help="snapshots of a monitor for the page, oldest first",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the files and print their paths."""
    states = [read_json(path) for path in options.snapshot]
    for path, state in zip(options.snapshot, states, strict=True):
        if not isinstance(state, dict) or "calls" not in state:
            raise UsageError(f"{path}: expected a snapshot, as snapshot().to_dict() returns it")
    labels = [path.stem for path in options.snapshot]
    files = dashboard_files(states, name=options.name, labels=labels, window=options.window)
    for path in write_files(options.out, files):
        show(str(path))
    return 0
