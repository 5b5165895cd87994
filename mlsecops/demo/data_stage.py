"""Step 1: digest and screening of the data, and detection of a changed byte."""

from __future__ import annotations

import shutil
from collections import Counter

from mlsecops.demo.context import DemoContext, refusal
from mlsecops.demo.digits import write_digits
from mlsecops.errors import DigestMismatch
from mlsecops.poisoning import PoisoningReport, screen_dataset
from mlsecops.provenance import Manifest, hash_dataset


def prepare_data(context: DemoContext) -> tuple[Manifest, PoisoningReport]:
    """Write, hash and screen the data; flip a byte in a copy of it."""
    with context.step(1, "Data: digest, screening, tampering") as fact:
        folder = context.out / "data"
        write_digits(context.digits, folder)
        manifest = hash_dataset(folder, name="digits")
        manifest.save(context.out / "data-manifest.json")
        fact("digest", f"{manifest.root} over {len(manifest)} files")
        train = context.digits.train
        screened = screen_dataset(train.x, train.y, seed=context.seed)
        fact("screening", _suspects(screened, rows=len(train.y)))
        fact("tampered copy", context.brief(_tamper(context, manifest)))
    return manifest, screened


def _suspects(report: PoisoningReport, *, rows: int) -> str:
    kinds = Counter(suspect.kind for suspect in report.suspects)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{len(report.suspects)} of {rows} rows to look at" + (f" ({listed})" if listed else "")


def _tamper(context: DemoContext, manifest: Manifest) -> DigestMismatch:
    copy = context.out / "tampered-data"
    shutil.copytree(context.out / "data", copy)
    target = copy / "train.npz"
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    try:
        error = refusal("a data set with a flipped bit", lambda: manifest.verify(copy))
    finally:
        shutil.rmtree(copy)
    if not isinstance(error, DigestMismatch) or error.changed != ("train.npz",):
        raise error
    return error
