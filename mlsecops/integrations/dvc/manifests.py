"""Signature over the outputs of a DVC repository: made, and verified whole or for some targets.

outputs → files on disk → SHA-256 manifest → dvc.sig → Verified
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlsecops._choices import checked, several
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.integrations.dvc.cache_links import cache_links
from mlsecops.integrations.dvc.ignored import IgnoreRules, read_rules, signed_rules
from mlsecops.integrations.dvc.listing import LOCK, DvcOutput, list_outputs
from mlsecops.provenance import Entry, Manifest
from mlsecops.provenance.files.hashing import hash_pieces
from mlsecops.provenance.files.opening import kind_of, open_regular, refused_kind
from mlsecops.provenance.files.pieces import Found, Piece, stamp_of
from mlsecops.provenance.files.tree import list_tree
from mlsecops.signing import (
    Bundle,
    Signer,
    TrustPolicy,
    Verified,
    Verifier,
    expected_name,
    read_bundle,
    sign_manifest,
)
from mlsecops.signing.checks.existing import (
    open_to_add,
    require_replaceable,
    require_unchanged,
    with_signatures,
)

BUNDLE: Final = "dvc.sig"


@dataclass(frozen=True, slots=True)
class _Content:
    """Manifest of outputs, names that the rules hide, outputs that were never downloaded."""

    manifest: Manifest
    hidden: tuple[str, ...]
    absent: tuple[str, ...]


@checked
def outputs_manifest(repository: str | os.PathLike[str]) -> Manifest:
    """SHA-256 manifest of every file of every output that `.dvcignore` does not hide.

    Outputs that DVC never downloaded (`dvc import --no-download`) are left out.

    Args:
        repository: Folder of the repository.

    Raises:
        UsageError: There is no output, or one is not checked out.
        UnsafeContent: An output contains a link that does not lead into DVC's cache.

    It also raises the errors of `outputs`.
    """
    root = Path(repository)
    manifest = _content(root, list_outputs(root), read_rules(root)).manifest
    if not manifest.entries:
        raise UsageError(f"{root}: expected outputs in .dvc files or {LOCK}, got none")
    return manifest


@checked
def sign_outputs(
    repository: str | os.PathLike[str],
    signer: Signer | Sequence[Signer],
    *,
    out: str | os.PathLike[str] | None = None,
    add: bool = False,
    replace: bool = False,
) -> Bundle:
    """Sign all outputs in the working folder.

    Args:
        repository: Folder of the repository.
        signer: One signer, or several for a policy's threshold.
        out: Path of the bundle; by default `dvc.sig` in the repository, for git to keep.
        add: Whether to add the signers to the bundle of unchanged outputs.
        replace: Whether to replace a bundle with other keys' signatures.

    Raises:
        UsageError: Another key's signature would be lost.
        DigestMismatch: With `add`, the outputs differ from the signed ones.

    It also raises the errors of `outputs_manifest`.
    """
    root = Path(repository)
    place = root / BUNDLE if out is None else Path(out)
    many = (signer,) if isinstance(signer, Signer) else signer
    signers = list(several("signer", many, "signers", Signer))
    if add:
        return _added(root, place, signers)
    if not replace:
        require_replaceable(place, signers)
    manifest, rules = outputs_manifest(root), read_rules(root)
    statements = [rules.statement(manifest)] if rules.digests else []
    return sign_manifest(manifest, signers, statements=statements).save(place)


def _added(root: Path, place: Path, signers: Sequence[Signer]) -> Bundle:
    bundle, claim = open_to_add(place, signers)
    rules = signed_rules(root, claim.statements)
    actual = _content(root, list_outputs(root), rules).manifest
    require_unchanged(claim, actual, os.fspath(root))
    return with_signatures(bundle, signers)[0].save(place)


@checked
def verify_outputs(
    repository: str | os.PathLike[str],
    *,
    policy: TrustPolicy,
    bundle: str | os.PathLike[str] | None = None,
    name: str | None = None,
    targets: Iterable[str] = (),
) -> Verified:
    """Verify outputs against their signature: all of them, or some after a partial pull.

    Args:
        repository: Folder of the repository.
        policy: Trust policy.
        bundle: Path of the bundle; by default `dvc.sig` in the repository.
        name: As for `mlsecops.verify`; by default that of the repository's folder.
        targets: What was pulled, as `dvc pull` names it, relative to the repository: outputs,
            files in them, `.dvc` files or stages. All outputs by default. The result is then about
            these files alone.

    Returns:
        What was verified; `.ignored` lists files that `.dvcignore` hides, and outputs that were
        never downloaded.

    Raises:
        SignatureError: There is no bundle, or its signature is invalid.
        PolicyError: The signature does not satisfy the policy.
        DigestMismatch: A file, an output or a `.dvcignore` was added, removed or changed.
        UsageError: A target is no output.

    It also raises the errors of `outputs_manifest`.
    """
    root = Path(repository)
    place = root / BUNDLE if bundle is None else Path(bundle)
    wanted = tuple(several("targets", targets, "targets", str))
    verifier = Verifier(policy)
    expected = expected_name(repository, name)
    signed = verifier.open(read_bundle(place), where=os.fspath(place), expected=expected)
    if signed.manifest.algorithm != "sha256" or signed.sharded:
        raise DigestMismatch(
            f"{place}: expected a bundle of sign_outputs, of whole files by sha256, got "
            f"{signed.manifest.algorithm}"
        )
    rules = signed_rules(root, signed.statements)
    known, paths = _selected(list_outputs(root), signed.manifest, wanted)
    if wanted:
        entries = [entry for entry in signed.manifest if _within(entry.name, paths)]
        restricted = dataclasses.replace(signed.manifest, entries=tuple(entries))
        signed = dataclasses.replace(signed, manifest=restricted)
    content = _content(root, known, rules, only=paths if wanted else None)
    ignored = sorted({*content.hidden, *content.absent})
    return verifier.match(signed, content.manifest, where=os.fspath(repository), ignored=ignored)


def _selected(
    known: list[DvcOutput], signed: Manifest, targets: Sequence[str]
) -> tuple[list[DvcOutput], tuple[str, ...]]:
    """The outputs that targets name or are in, and the paths to compare."""
    if not targets:
        return known, ()
    chosen: dict[str, DvcOutput] = {}
    paths: list[str] = []
    for target in targets:
        name = target.removeprefix("./").rstrip("/")
        found = [each for each in known if each.named_by(name) or _within(name, (each.path,))]
        if not found and not any(_within(entry.name, (name,)) for entry in signed):
            raise UsageError(
                f"target {target!r}: expected an output, a file in one, a .dvc file or a stage, "
                f"got none of them; the outputs are {', '.join(each.path for each in known[:5])}"
            )
        for each in found:
            chosen[each.path] = each
            paths.append(name if _within(name, (each.path,)) else each.path)
        if not found:  # signed, and its pointer is gone
            paths.append(name)
    return list(chosen.values()), tuple(paths)


def _within(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def _content(
    root: Path, known: Iterable[DvcOutput], rules: IgnoreRules, *, only: Sequence[str] | None = None
) -> _Content:
    """Hash the files of outputs, or those of them that are wanted."""
    files: dict[str, Found] = {}
    hidden: list[str] = []
    absent: list[str] = []
    for output in known:
        place = root / output.path
        if os.path.lexists(place):
            found, ignored = _files(root, output.path, rules)
            files |= found
            hidden += ignored
        elif not output.recorded:
            absent.append(f"{output.path} (never downloaded)")
        else:
            raise UsageError(
                f"{place}: expected an output of DVC, got none; run dvc pull, or name the targets "
                "that you pulled with targets= (TARGET…)"
            )
    if only is not None:
        files = {name: found for name, found in files.items() if _within(name, only)}
        hidden = [name for name in hidden if _within(name, only)]
    names = sorted(files)
    digests = hash_pieces([Piece(files[name]) for name in names], algorithm="sha256")
    entries = tuple(
        Entry(name, digest, files[name].size) for name, digest in zip(names, digests, strict=True)
    )
    manifest = Manifest(name=root.resolve().name, algorithm="sha256", entries=entries)
    return _Content(manifest, tuple(hidden), tuple(absent))


def _files(root: Path, path: str, rules: IgnoreRules) -> tuple[dict[str, Found], list[str]]:
    place, follow = root / path, cache_links(root)
    if place.is_symlink() or not place.is_dir():
        return {path: _one(place, follow(os.fspath(place)) if place.is_symlink() else None)}, []
    tree = list_tree(
        place, links=follow, hide=lambda name, kind: rules.hidden(f"{path}/{name}", is_folder=kind)
    )
    found = {f"{path}/{name}": each for name, each in tree.files.items()}
    return found, [f"{path}/{name}" for name in tree.ignored]


def _one(place: Path, cached: Found | None) -> Found:
    if cached is not None:
        return cached
    if place.is_symlink():
        raise refused_kind(place, kind_of(place.lstat().st_mode))
    descriptor = open_regular(place)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Found(os.fspath(place), status.st_size, stamp=stamp_of(status))
