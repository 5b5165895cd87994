"""Command `mlsecops hash`: PATH → Manifest → text, JSON, SHA256SUMS or Croissant."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops._repr import printable
from mlsecops.cli.options import add_algorithm, add_cache, add_format, option
from mlsecops.cli.terminal import json_text, plural, progress
from mlsecops.cli.values import place
from mlsecops.errors import UsageError
from mlsecops.provenance.dataset import hash_dataset
from mlsecops.provenance.files.paths import own_name
from mlsecops.provenance.manifest import Manifest, hash_path

EXAMPLE = "mlsecops hash data/ --format sha256sums --out SHA256SUMS"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "file, folder or URL (s3://bucket/model)", type=place)
    option(parser, "--by BY", "what is hashed: files as they are, or the content of zarr, Parquet, "
           "CSV, Arrow and Feather", choices=("files", "content"), default="files")  # fmt: skip
    add_algorithm(parser)
    add_format(parser, "sha256sums", "croissant")
    add_cache(parser)
    option(parser, "--out F", "output file; default standard output", type=Path)


def run(options: argparse.Namespace) -> int:
    """Compute the digest and print it."""
    text = _render(_manifest(options), options)
    if options.out is None:
        print(text, end="")
    else:
        write_atomically(options.out, text.encode())
    return 0


def _manifest(options: argparse.Namespace) -> Manifest:
    if options.by == "content":
        if options.cache is not None:
            raise UsageError("--cache: expected --by files with it; content is read each time")
        return hash_dataset(
            options.path, name=own_name(options.path), algorithm=options.algorithm, by="content"
        )
    with progress("hashing", unit="bytes") as bar:
        return hash_path(
            options.path, algorithm=options.algorithm, cache=options.cache, progress=bar
        )


def _render(manifest: Manifest, options: argparse.Namespace) -> str:
    content = options.by == "content"
    if options.format == "sha256sums":
        return manifest.to_sha256sums()
    if options.format == "text":
        parts = plural(len(manifest), "part" if content else "file")
        return f"{manifest.root}  {printable(manifest.name)} ({parts}, {manifest.size} bytes)\n"
    if options.format == "json":
        return f"{json_text(manifest.to_dict())}\n"
    if content and Path(options.path).is_file():
        return f"{json_text(hash_path(options.path).to_croissant(table=manifest))}\n"
    return f"{json_text(manifest.to_croissant())}\n"
