"""Held files of a layout: what a load reads in memory, or all files in a private folder.

ArtifactLayout, signed Manifest → `taken` → layout with the parts of the model, Snapshot

A main file that names the others (an index of shards, an ONNX model) is held first, and asked for
its parts only if it is the signed one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlsecops.errors import ContentRefused
from mlsecops.loading.artifact import ArtifactLayout, external_ends, shards_named
from mlsecops.loading.holding.held_folder import held_folder
from mlsecops.loading.limits import Limits
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import Snapshot, Source, Tier, snapshot
from mlsecops.provenance import Manifest
from mlsecops.provenance.files.hashing import Progress
from mlsecops.provenance.files.pieces import Found

__all__ = ["Taken", "taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Files that are held.

    Attributes:
        files: Their layout, with the parts of the model among those read.
        held: Their bytes.
        folder: Folder where they stand under their own names; empty for a load.
    """

    files: ArtifactLayout
    held: Snapshot
    folder: str = ""


@contextlib.contextmanager
def taken(
    files: ArtifactLayout,
    signed: Manifest,
    *,
    tier: Tier,
    limits: Limits,
    in_folder: bool,
    progress: Progress | None = None,
) -> Iterator[Taken]:
    """Hold the files of a layout, and hash all that the signature covers.

    Args:
        files: The layout.
        signed: Manifest of trusted signers; not compared yet.
        tier: Wanted tier.
        limits: Ceilings of sizes.
        in_folder: Whether a reader of the caller's gets them in a folder.
        progress: Called with the bytes hashed so far, and in all.

    Raises:
        MLSecOpsError: As `snapshot` and `held_folder` raise.
    """
    algorithm = signed.algorithm
    with contextlib.ExitStack() as stack:
        if in_folder:
            made = held_folder(files.read, tier=tier, algorithm=algorithm, limits=limits)
            folder, held = stack.enter_context(made)
            yield Taken(files=files, held=held, folder=folder)
            return

        def take(read: Mapping[str, Found], others: Mapping[str, Found]) -> Snapshot:
            return stack.enter_context(
                snapshot(
                    {name: found.path for name, found in read.items()},
                    tier=tier,
                    algorithm=algorithm,
                    limits=limits,
                    keep=True,
                    companions=others,
                    progress=progress,
                )
            )

        if not files.in_parts:
            yield Taken(files=files, held=take(files.read, files.companions))
            return
        first = take(files.read, {})
        is_signed = files.main in signed and signed[files.main] == first.digests[files.main]
        names = _parts(files, first.sources[files.main], limits) if is_signed else frozenset()
        whole = files.with_parts(names)
        rest = {name: found for name, found in whole.read.items() if name not in files.read}
        yield Taken(files=whole, held=first | take(rest, whole.companions))


def _parts(files: ArtifactLayout, main: Source, limits: Limits) -> frozenset[str]:
    """Names of the files that the main file reads; what it may not read is refused later."""
    if files.kind in {"onnx", "distributed"}:
        _, result = examine(main, allow_globals=(), limits=limits)
        return frozenset(external_ends(main.name, result.external))
    try:
        return frozenset(shards_named(main, limits=limits).values())
    except ContentRefused:
        return frozenset()
