"""Held part of a signed folder: some of its files, verified each by its own digest.

folder, names that a reader needs → trusted Manifest → those files held → digests compared → scan

The other files of the folder are neither read nor there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlsecops._bounded.budget import spending
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.loading.holding.held_folder import held_folder
from mlsecops.loading.holding.scanning import require_checked, scan_held
from mlsecops.loading.limits import Limits
from mlsecops.loading.recheck import require_not_isolated, require_signers
from mlsecops.loading.snapshot import Tier
from mlsecops.loading.telemetry import recorded
from mlsecops.provenance import Digest, Isolation, Manifest
from mlsecops.provenance.files.opening import followed
from mlsecops.provenance.files.pieces import Found
from mlsecops.provenance.files.tree import list_tree
from mlsecops.signing import (
    TrustPolicy,
    Verifier,
    bundle_path,
    expected_name,
    ignore_for,
    read_bundle,
)

__all__ = ["HoldOptions", "held_part"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOptions:
    """Options of a hold; see `SecureLoader`.

    Attributes:
        policy: Who may sign a model.
        tier: How bytes are held.
        allow_globals: Audited names.
        allow_unchecked: Whether to hold what the scan does not look into.
        limits: Resource limits.
        isolation: Source of isolated digests.
    """

    policy: TrustPolicy
    tier: Tier = "sealed"
    allow_globals: Collection[str] = ()
    allow_unchecked: bool = False
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation | None = None


@contextlib.contextmanager
def held_part(folder: Path, wanted: Callable[[str], bool], options: HoldOptions) -> Iterator[str]:
    """Verify and scan some files of a signed folder, and hold them in a folder of their own.

    Args:
        folder: The folder with the bundle.
        wanted: Whether a file of it is needed, by relative name.
        options: Options.

    Yields:
        Folder in which the files stand under their own names.

    Raises:
        DigestMismatch: One of them was added, removed or changed.
        MLSecOpsError: As `SecureLoader.hold` raises.
    """
    place = bundle_path(folder)
    with contextlib.ExitStack() as stack:
        with recorded(folder.name) as record:
            with record.step("verify"):
                expected = expected_name(folder, None)
                signed = Verifier(options.policy).open(
                    read_bundle(place), where=str(place), expected=expected
                )
                record.note(digest=str(signed.manifest.root), signers=signed.signers)
                require_signers(
                    signed.signers, options.policy, options.isolation, where=str(folder)
                )
                require_not_isolated(signed.manifest.root, options.isolation, where=str(folder))
            ignore = ignore_for(folder, signed.ignore_paths, place)
            tree = list_tree(followed(folder), ignore=ignore)
            files = {name: found for name, found in tree.files.items() if wanted(name)}
            with record.step("hold"):
                own, held = stack.enter_context(
                    held_folder(
                        files,
                        tier=options.tier,
                        algorithm=signed.manifest.algorithm,
                        limits=options.limits,
                    )
                )
                record.note(tier=options.tier, bytes=held.size)
            _require_signed(signed.manifest, held.digests, files, wanted, where=str(folder))
            require_not_isolated(held.digests.values(), options.isolation, where=str(folder))
            with record.step("scan"), spending(options.limits.budget(held.size)):
                each = scan_held(
                    held.sources, allow_globals=options.allow_globals, limits=options.limits
                )
            record.add("exceptions", (n for _, one in each.values() for n in one.exceptions))
            unchecked = require_checked(each, allow_unchecked=options.allow_unchecked)
            record.add("unchecked", (item.what for item in unchecked))
        yield own


def _require_signed(
    signed: Manifest,
    held: Mapping[str, Digest],
    files: Mapping[str, Found],
    wanted: Callable[[str], bool],
    *,
    where: str,
) -> None:
    """Demand that the held files are those of the signature, no more and no fewer."""
    if signed.shard_size is not None:
        raise UsageError(
            f"{where}: signed in shards of {signed.shard_size} bytes: expected whole files, whose "
            "digests can be compared one by one; sign whole files, or load with SecureLoader"
        )
    names = {entry.name for entry in signed if wanted(entry.name)}
    added, removed = sorted(files.keys() - names), sorted(names - files.keys())
    changed = sorted(name for name in names & files.keys() if signed[name] != held[name])
    if added or removed or changed:
        words = (("added", added), ("removed", removed), ("changed", changed))
        got = ", ".join(f"{word} {' '.join(some[:5])}" for word, some in words if some)
        raise DigestMismatch(
            f"{where}: expected the signed files, got {got}; get the model again",
            added=tuple(added),
            removed=tuple(removed),
            changed=tuple(changed),
        )
