"""Step 1: what the data is, what looks odd in it, and that a changed byte is named."""

from __future__ import annotations

import shutil
from collections import Counter

from mlsecops.demo.digits import write_digits
from mlsecops.demo.scene import DemoContext, refusal
from mlsecops.errors import DigestMismatch
from mlsecops.poisoning import PoisoningReport, screen_dataset
from mlsecops.provenance import Manifest, hash_dataset


def prepare_data(scene: DemoContext) -> tuple[Manifest, PoisoningReport]:
    """Write, hash and screen the data; flip a byte in a copy of it."""
    with scene.step(1, "Data: digest, screening, tampering") as tell:
        folder = scene.out / "data"
        write_digits(scene.digits, folder)
        manifest = hash_dataset(folder, name="digits")
        manifest.save(scene.out / "data-manifest.json")
        tell("digest", f"{manifest.root} over {len(manifest)} files")
        train = scene.digits.train
        screened = screen_dataset(train.x, train.y, seed=scene.seed)
        tell("screening", _suspects(screened, rows=len(train.y)))
        tell("tampered copy", scene.brief(_tamper(scene, manifest)))
    return manifest, screened


def _suspects(report: PoisoningReport, *, rows: int) -> str:
    kinds = Counter(suspect.kind for suspect in report.suspects)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{len(report.suspects)} of {rows} rows to look at" + (f" ({listed})" if listed else "")


def _tamper(scene: DemoContext, manifest: Manifest) -> DigestMismatch:
    copy = scene.out / "tampered-data"
    shutil.copytree(scene.out / "data", copy)
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
