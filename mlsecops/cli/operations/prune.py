"""Command `mlsecops registry prune-cache`: bound of the resolved versions on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from mlsecops.cli.options import add_format, option
from mlsecops.cli.terminal import show, show_json
from mlsecops.cli.values import duration, whole
from mlsecops.registry import prune_cache

ABOUT: Final = "delete the least recently used versions from this machine's cache"
EXAMPLE: Final = "mlsecops registry prune-cache --max-bytes 20000000000"
_HOUR: Final = 3_600.0  # seconds; the default of `prune_cache`


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--max-bytes N", "bytes of files that may stay", type=whole, required=True)
    option(parser, "--cache DIR", "the cache; default $XDG_CACHE_HOME/mlsecops/registry", type=Path)
    option(parser, "--unused-for SECONDS", "how long a version must not have been resolved to go",
           type=duration, default=_HOUR)  # fmt: skip
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Prune, and print how much went."""
    freed = prune_cache(options.cache, max_bytes=options.max_bytes, unused_for=options.unused_for)
    if options.format == "json":
        show_json({"deleted_bytes": freed})
    else:
        show(f"deleted {freed} bytes")
    return 0
