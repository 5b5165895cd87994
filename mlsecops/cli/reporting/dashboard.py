"""`mlsecops dashboard`: write the monitoring dashboard and alert rules."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.inputs import read_json, write_files
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.reports import dashboard_files

EXAMPLE = "example: mlsecops dashboard --out monitoring/ --window 15s"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    parser.add_argument("--window", metavar="15s", help="how far alert rules look back on counters")
    parser.add_argument("--name", default="model", help="the monitor's name")
    parser.add_argument(
        "--snapshot", nargs="+", action="extend", type=Path, default=[], metavar="F.json",
        help="states of a monitor that the page draws, oldest first",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the files and say where they are."""
    states = [read_json(path) for path in options.snapshot]
    for path, state in zip(options.snapshot, states, strict=True):
        if not isinstance(state, dict) or "calls" not in state:
            raise UsageError(
                f"{path}: expected a monitor's state, as snapshot().to_dict() gives it"
            )
    labels = [path.stem for path in options.snapshot]
    files = dashboard_files(states, name=options.name, labels=labels, window=options.window)
    for path in write_files(options.out, files):
        show(str(path))
    return 0
