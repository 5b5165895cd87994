"""Command `mlsecops hash`: PATH → Manifest → text, JSON, SHA256SUMS or Croissant."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops._repr import printable
from mlsecops.cli.options import add_algorithm, add_cache, add_format, option
from mlsecops.cli.terminal import json_text, plural, progress
from mlsecops.provenance.manifest import Manifest, hash_path

EXAMPLE = "mlsecops hash data/ --format sha256sums --out SHA256SUMS"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "file, folder or URL (s3://bucket/model)")
    add_algorithm(parser)
    add_format(parser, "sha256sums", "croissant")
    add_cache(parser)
    option(parser, "--out F", "output file; default standard output", type=Path)


def run(options: argparse.Namespace) -> int:
    """Compute the digest and print it."""
    with progress("hashing", unit="bytes") as bar:
        manifest = hash_path(
            options.path, algorithm=options.algorithm, cache=options.cache, progress=bar
        )
    text = _render(manifest, options.format)
    if options.out is None:
        print(text, end="")
    else:
        write_atomically(options.out, text.encode())
    return 0


def _render(manifest: Manifest, form: str) -> str:
    if form == "sha256sums":
        return manifest.to_sha256sums()
    if form == "text":
        files = plural(len(manifest), "file")
        return f"{manifest.root}  {printable(manifest.name)} ({files}, {manifest.size} bytes)\n"
    value = manifest.to_dict() if form == "json" else manifest.to_croissant()
    return f"{json_text(value)}\n"
