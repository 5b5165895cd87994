"""`mlsecops hash`: digest a file or folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.cli.options import add_algorithm, add_format
from mlsecops.cli.terminal import byte_progress, plural, visible
from mlsecops.provenance.manifest import Manifest, hash_path

EXAMPLE = "example: mlsecops hash data/ --format sha256sums --out SHA256SUMS"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("path", metavar="PATH", help="file, folder or URL (s3://bucket/model)")
    add_algorithm(parser)
    add_format(parser, "sha256sums", "croissant")
    parser.add_argument(
        "--cache",
        metavar="F",
        help="remember digests in F, and do not read files again that have not changed since",
    )
    parser.add_argument("--out", type=Path, metavar="F", help="write there instead of printing")


def run(options: argparse.Namespace) -> int:
    """Hash and print."""
    with byte_progress("hashing") as progress:
        manifest = hash_path(
            options.path, algorithm=options.algorithm, cache=options.cache, progress=progress
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
        return f"{manifest.root}  {visible(manifest.name)} ({files}, {manifest.size} bytes)\n"
    value = manifest.to_dict() if form == "json" else manifest.to_croissant()
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"
