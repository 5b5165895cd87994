"""`mlsecops diagram`: draw a pipeline's data flow with its controls and threats."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlsecops.cli.inputs import read_json, write_files
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.reports import ControlState, architecture_files, blueprint

EXAMPLE = (
    "example: mlsecops diagram --out architecture/ --controls controls.json\n"
    '         with {"Signature check": {"state": "enforced", "where": "gateway"}} in the file'
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the drawing"
    )
    parser.add_argument("--title", default="Pipeline", help="what the pipeline is called")
    add_controls(parser)


def add_controls(parser: argparse.ArgumentParser) -> None:
    """Declare the file that says which controls are there."""
    parser.add_argument(
        "--controls", type=Path, metavar="F.json",
        help="control to its state (enforced, advisory or absent) and where; default none is there",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Draw the diagram and say where it is."""
    architecture = blueprint(read_controls(options.controls), title=options.title)
    for path in write_files(options.out, architecture_files(architecture)):
        show(str(path))
    return 0


def read_controls(path: Path | None) -> dict[str, tuple[ControlState, str]]:
    """Control → its state and where it runs, from JSON; none without a file.

    Raises:
        UsageError: The file cannot be opened, or says something else.
    """
    value = {} if path is None else read_json(path)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected a JSON object from control to state")
    return {name: _control(item, f"{path}: {name}") for name, item in value.items()}


def _control(item: Any, where: str) -> tuple[ControlState, str]:
    said = item if isinstance(item, dict) else {"state": item}
    place = said.get("where", "as declared")
    known = [state.value for state in ControlState]
    if said.get("state") not in known or not isinstance(place, str):
        raise UsageError(f"{where}: expected a state ({', '.join(known)}) and where, got {item!r}")
    return ControlState(said["state"]), place
