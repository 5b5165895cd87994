"""How a path is signed, and where its bundle lies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlsecops.provenance.hashing import Progress
from mlsecops.provenance.manifest import hash_path
from mlsecops.provenance.statement import Statement
from mlsecops.provenance.tree import DEFAULT_IGNORE, SIGNATURE_NAME
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.envelope import Envelope
from mlsecops.signing.keys import Signer
from mlsecops.signing.oms import build_payload


def bundle_path(path: str | os.PathLike[str]) -> Path:
    """Where the bundle of a model lies: ``DIR/model.sig``, or ``FILE.sig`` beside a file."""
    place = Path(path)
    return place / SIGNATURE_NAME if place.is_dir() else place.with_name(f"{place.name}.sig")


def ignore_for(
    path: str | os.PathLike[str], ignore: Iterable[str], bundle: Path
) -> tuple[str, ...]:
    """An ignore list with the bundle's own place added, when that lies inside the folder."""
    root = Path(path).resolve()
    place = bundle.resolve()
    own = [place.relative_to(root).as_posix()] if root in place.parents else []
    return tuple(dict.fromkeys([*ignore, *own]))


def sign(
    path: str | os.PathLike[str],
    signer: Signer | Sequence[Signer],
    *,
    out: str | os.PathLike[str] | None = None,
    statements: Sequence[Statement] = (),
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    progress: Progress | None = None,
) -> Bundle:
    """Sign a model's folder or file and write the bundle.

    Args:
        path: The model.
        signer: Who signs; several sign the same statement for policies with a threshold.
        out: Where the bundle goes; by default ``DIR/model.sig``, or ``FILE.sig`` beside a file.
        statements: Further statements about the model (provenance, bill of materials), covered by
            the same signature.
        algorithm: Digest algorithm of the files.
        ignore: Relative paths left out, recorded in the signature and reported at verification.
        progress: Told ``(bytes done, bytes in all)``.

    Raises:
        UsageError: The model is empty or unreadable, or a statement is about something else.
        UnsafeContent: It holds a symlink, socket, pipe or device.
        ChangedDuringLoad: A file changed while it was read.
    """
    signers = [signer] if isinstance(signer, Signer) else list(signer)
    place = bundle_path(path) if out is None else Path(out)
    manifest = hash_path(
        path, algorithm=algorithm, ignore=ignore_for(path, ignore, place), progress=progress
    )
    envelope = Envelope.seal(build_payload(manifest, statements), signers)
    first = signers[0]
    bundle = Bundle(
        envelope=envelope,
        hint=None if first.certificates else first.public_key.fingerprint,
        certificates=first.certificates,
    )
    return bundle.save(place)
