"""Verification of a signature, beside reading the bytes alone and beside model_signing.

One file of 256 MiB, and a folder of 2,000 files of 64 KiB, all in the page cache. The floor is
``hashlib.file_digest`` over the same files on one thread, which checks no signature.

Run: ``python -m benchmarks hashing``
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model_signing import verifying

from benchmarks.measure import Comparison, Contestants, compare
from mlsecops import Signer, TrustPolicy, sign, verify

LARGE: Final = 256 << 20
SMALL: Final = 64 << 10
MANY: Final = 2000
ROUNDS: Final = 7


def comparisons() -> Iterator[Comparison]:
    """One comparison for the large file, one for the many small ones."""
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large"
        large.mkdir()
        (large / "weights.bin").write_bytes(os.urandom(LARGE))
        yield verified("verify 1 × 256 MiB", large)
    with tempfile.TemporaryDirectory() as folder:
        many = Path(folder) / "many"
        many.mkdir()
        for number in range(MANY):
            (many / f"shard-{number:04d}.bin").write_bytes(os.urandom(SMALL))
        yield verified("verify 2,000 × 64 KiB", many)


def verified(what: str, model: Path) -> Comparison:
    """Compare ways of verifying a folder, which is signed for it."""
    return compare(what, contestants(model), ours="mlsecops.verify", rounds=ROUNDS)


def contestants(model: Path) -> Contestants:
    """Sign a folder and give the ways of checking it."""
    files = sorted(model.iterdir())
    signer = Signer.generate("p256")
    sign(model, signer)
    public = model.parent / "key.pub.pem"
    public.write_text(signer.public_key.pem)
    policy = TrustPolicy(keys=[signer.public_key])
    theirs = verifying.Config().use_elliptic_key_verifier(public_key=public)

    def bare() -> None:
        for path in files:
            with path.open("rb") as stream:
                hashlib.file_digest(stream, "sha256")

    return {
        "mlsecops.verify": lambda: verify(model, policy=policy),
        "hashlib.file_digest": bare,
        "model_signing verify": lambda: theirs.verify(model, model / "model.sig"),
    }
