"""Command `mlsecops dashboard`: snapshots → dashboard.json, dashboard.html and alerts.yml."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.inputs import kind_of, read_json, write_files
from mlsecops.cli.options import option
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.reports import dashboard_files

EXAMPLE = "mlsecops dashboard --out monitoring/ --window 15s"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--out DIR", "folder for the files", type=Path, required=True)
    option(parser, "--window 15s", "time window of the alert rules, such as 15s")
    option(parser, "--name NAME", "name of the monitor", default="model")
    option(parser, "--snapshot F.json", "snapshots of a monitor for the page, oldest first",
           several=True, type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the files and print their paths."""
    states = [read_json(path) for path in options.snapshot]
    for path, state in zip(options.snapshot, states, strict=True):
        if not isinstance(state, dict) or "calls" not in state:
            raise UsageError(
                f"{path}: expected a snapshot, as snapshot().to_dict() returns it, got "
                f"{kind_of(state)}"
            )
    labels = [path.stem for path in options.snapshot]
    files = dashboard_files(states, name=options.name, labels=labels, window=options.window)
    for path in write_files(options.out, files):
        show(str(path))
    return 0
