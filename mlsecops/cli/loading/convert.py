"""`mlsecops convert`: get the tensors out of a pickle that nobody trusts, in a confined child."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops.cli.options import add_format
from mlsecops.cli.terminal import show, show_json
from mlsecops.loading.convert import convert

EXAMPLE = "example: mlsecops convert model.pkl --out model.safetensors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("path", type=Path, metavar="PATH", help="pickle, joblib or torch file")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument(
        "--memory", type=int, default=4096, metavar="MIB", help="the child's memory"
    )
    parser.add_argument("--seconds", type=float, default=120, help="the child's time")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Convert and say what was made."""
    made = convert(
        options.path, options.out, memory_bytes=options.memory << 20, seconds=options.seconds
    )
    if options.format == "json":
        told = {"path": made.path, "bytes": made.size, "source": str(made.source)}
        show_json({**told, "format": made.format, "signed": False})
    else:
        show(
            f"converted {options.path} ({made.format}) to {made.path}: {made.size} bytes, unsigned"
        )
    return 0
