"""Command `mlsecops diagram`: states of the controls → architecture.svg, .mmd and .html."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlsecops.cli.inputs import kind_of, read_json, write_files
from mlsecops.cli.options import option
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.reports import ControlState, architecture_files, blueprint

EXAMPLE = (
    "mlsecops diagram --out architecture/ --controls controls.json\n"
    '         with {"Signature check": {"state": "enforced", "where": "gateway"}} in the file'
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--out DIR", "folder for the files", type=Path, required=True)
    option(parser, "--title TITLE", "name of the pipeline", default="Pipeline")
    add_controls(parser)


def add_controls(parser: argparse.ArgumentParser) -> None:
    """Declare the file with the states of the controls."""
    option(parser, "--controls F.json",
           "JSON: control → state (enforced, advisory, absent) and where; default all absent",
           type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the diagram and print the paths of its files."""
    architecture = blueprint(read_controls(options.controls), title=options.title)
    for path in write_files(options.out, architecture_files(architecture)):
        show(str(path))
    return 0


def read_controls(path: Path | None) -> dict[str, tuple[ControlState, str]]:
    """Control → its state and where it runs, from a JSON file; empty without a file."""
    value = {} if path is None else read_json(path)
    if not isinstance(value, dict):
        raise UsageError(
            f"{path}: expected a JSON object from control to state, got {kind_of(value)}"
        )
    return {name: _control(item, f"{path}: {name}") for name, item in value.items()}


def _control(item: Any, where: str) -> tuple[ControlState, str]:
    fields = item if isinstance(item, dict) else {"state": item}
    place = fields.get("where", "as declared")
    known = [state.value for state in ControlState]
    if fields.get("state") not in known or not isinstance(place, str):
        raise UsageError(f"{where}: expected a state ({', '.join(known)}) and where, got {item!r}")
    return ControlState(fields["state"]), place
