"""Command `mlsecops convert`: untrusted pickle → sandboxed process → safetensors file."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.options import add_format, option
from mlsecops.cli.terminal import show, show_json
from mlsecops.cli.values import count, positive
from mlsecops.loading.convert import convert

EXAMPLE = "mlsecops convert model.pkl --out model.safetensors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "pickle, joblib or torch file (Linux 5.13 or newer, x86-64 or ARM)",
           type=Path)  # fmt: skip
    option(parser, "--out F", "safetensors file to write", type=Path, required=True)
    option(parser, "--memory MIB", "memory of the process, in MiB", type=count, default=4096)
    option(parser, "--seconds S", "time of the process, in seconds", type=positive, default=120)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Convert the file and print what was written."""
    made = convert(
        options.path, options.out, memory_bytes=options.memory << 20, seconds=options.seconds
    )
    if options.format == "json":
        fields = {"path": made.path, "bytes": made.size, "source": str(made.source)}
        show_json({**fields, "format": made.format, "signed": False})
    else:
        show(
            f"converted {options.path} ({made.format}) to {made.path}: {made.size} bytes, unsigned"
        )
    return 0
