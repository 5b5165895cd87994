"""Model signing: a path hashed, signed, and its bundle written.

path → Manifest → payload (`oms`) → envelope, time stamps → Bundle on disk
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsecops._choices import checked, several
from mlsecops.errors import MLSecOpsWarning, UsageError
from mlsecops.provenance.files import remote
from mlsecops.provenance.files.hashing import Progress
from mlsecops.provenance.files.opening import followed
from mlsecops.provenance.files.tree import DEFAULT_IGNORE, SIGNATURE_NAME
from mlsecops.provenance.files.urls import is_url
from mlsecops.provenance.manifest import Manifest, hash_path
from mlsecops.provenance.statement import Statement
from mlsecops.signing.bundle import MAX_SIGNATURES, Bundle
from mlsecops.signing.checks.existing import (
    open_to_add,
    require_replaceable,
    require_same,
    require_statements,
    require_unchanged,
    with_signatures,
)
from mlsecops.signing.checks.secret_files import require_no_secrets
from mlsecops.signing.envelope import Envelope, Signature
from mlsecops.signing.keys import Signer
from mlsecops.signing.naming import model_name
from mlsecops.signing.oms import build_payload
from mlsecops.signing.timestamps import Authority, request_timestamp

if TYPE_CHECKING:
    from mlsecops.provenance.files.stat_cache import StatCache  # imports SQLite


@checked
def bundle_path(path: str | os.PathLike[str]) -> Path:
    """Path of a local model's bundle: `DIR/model.sig`, or `FILE.sig` for a file.

    Raises:
        UsageError: There is nothing at the path, or it is a URL.
    """
    place = Path(path)
    if is_url(path):
        followed(path)
    if not os.path.lexists(place):
        raise UsageError(
            f"cannot read {os.fspath(path)}: expected a file or folder, found none; check the path"
        )
    return place / SIGNATURE_NAME if place.is_dir() else place.with_name(f"{place.name}.sig")


def bundle_location(
    path: str | os.PathLike[str], given: str | os.PathLike[str] | None = None
) -> Path | str:
    """Path or URL of a model's bundle: the given one, else that in or next to the model.

    Raises:
        UsageError: There is nothing at the path, or a URL cannot be read.
    """
    if given is not None:
        return os.fspath(given) if is_url(given) else Path(given)
    if not is_url(path):
        return bundle_path(path)
    url = os.fspath(path).rstrip("/")
    return f"{url}.sig" if remote.is_object(url) else f"{url}/{SIGNATURE_NAME}"


@checked
def ignore_for(
    path: str | os.PathLike[str], ignore: Iterable[str], bundle: Path | str
) -> tuple[str, ...]:
    """An ignore list with the bundle's path added, if it is inside the folder."""
    if is_url(path):
        top = f"{os.fspath(path).rstrip('/')}/"
        own = [os.fspath(bundle)[len(top) :]] if os.fspath(bundle).startswith(top) else []
        return tuple(dict.fromkeys([*ignore, *own]))
    if isinstance(bundle, str):
        return tuple(ignore)
    # The bundle itself may be a link of a hub's snapshot, so only its folder is followed.
    root, place = Path(followed(path)), Path(followed(bundle.parent), bundle.name)
    own = [place.relative_to(root).as_posix()] if root in place.parents else []
    return tuple(dict.fromkeys([*ignore, *own]))


@checked
def without_bundle(
    names: Iterable[str], root: str | os.PathLike[str], bundle: Path | str
) -> tuple[str, ...]:
    """Names of files below a folder that are not its bundle."""
    if is_url(root):
        top = os.fspath(root).rstrip("/")
        return tuple(name for name in names if f"{top}/{name}" != os.fspath(bundle))
    if isinstance(bundle, str):
        return tuple(names)
    root, own = Path(root), followed(bundle)
    return tuple(name for name in names if followed(root / name) != own)


@checked
def sign(
    path: str | os.PathLike[str],
    signer: Signer | Sequence[Signer],
    *,
    out: str | os.PathLike[str] | None = None,
    statements: Sequence[Statement] = (),
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    cache: str | os.PathLike[str] | StatCache | None = None,
    progress: Progress | None = None,
    version: int | None = None,
    timestamp: Authority | None = None,
    spec_names: bool = False,
    shard_size: int | None = None,
    name: str | None = None,
    add: bool = False,
    replace: bool = False,
    include_secrets: bool = False,
) -> Bundle:
    """Sign a model's folder or file and write the bundle.

    A bundle of the same keys is replaced, unless it has a statement about the same files of a kind
    that is not among the new ones.
    Otherwise nothing is written without `add` or `replace`, so that nobody's signature is lost.
    Each signature is verified with its signer's own public key before anything is written.

    Args:
        path: The model: a folder, a file, or the URL of objects (`s3://bucket/model`).
        signer: One signer, or several that sign the same statement for a policy's threshold.
        out: File or URL of the bundle; by default `DIR/model.sig`, or `FILE.sig` for a file.
        statements: Further statements about the model (provenance, bill of materials), covered by
            the same signature.
        algorithm: Digest algorithm of the files.
        ignore: Relative paths left out, recorded in the signature and reported at verification.
        cache: Digests of files that have not changed since they were last hashed.
        progress: Called with `(bytes done, bytes in all)`.
        version: Version of the model, from 1 on, for policies with a rollback floor.
        timestamp: A time stamp authority (such as `http_authority(url)`) that attests the time of
            each signature, so that it outlives its certificate.
        spec_names: Name a single file by its base name as the specification has it; deployed
            verifiers read only the default, `"."`.
        shard_size: Bytes of a shard: digests are of shards of files, so that one big file is
            hashed on many cores. `SecureLoader` takes whole files only. An empty file has no
            shard and is not covered, which raises a warning.
        name: Name of the model, which policies compare with scopes and floors; by default the base
            name of the path.
        add: Whether to add the signers to the bundle that is there. Its statement is signed as it
            is, with its name, version and further statements, after the files were hashed again:
            verify the other signatures first, or sign what somebody else claims.
        replace: Whether to replace whatever bundle is there.
        include_secrets: Whether to sign private keys and files of credentials, too.

    Raises:
        UsageError: The model is empty or unreadable, a statement is about something else, or a
            bundle with another key's signature or with statements would be lost.
        SignatureInvalid: A signer's answer does not match its public key.
        DigestMismatch: With `add`, a file was added, removed or changed since the first signature.
        UnsafeContent: It holds a symlink, socket, pipe or device, or a private key or credentials.
        ChangedDuringLoad: A file changed while it was read.
    """
    signers = _listed(signer)
    place = bundle_location(path, out)
    if add and replace:
        raise UsageError("add, replace: expected one of them, got both; leave one out")
    if add:
        return _added(
            path, signers, place, cache=cache, progress=progress, timestamp=timestamp,
            include_secrets=include_secrets, name=name, version=version, algorithm=algorithm,
            statements=statements,
        )  # fmt: skip
    require_no_secrets(path, ignore_for(path, ignore, place), include=include_secrets)
    held = () if replace else require_replaceable(place, signers)
    manifest = hash_path(
        path,
        algorithm=algorithm,
        ignore=ignore_for(path, ignore, place),
        cache=cache,
        progress=progress,
        shard_size=shard_size,
    )
    require_statements(held, statements, manifest, os.fspath(place))
    _warn_of_empty(manifest)
    if name is not None:
        manifest = dataclasses.replace(manifest, name=model_name(name))
    return sign_manifest(
        manifest,
        signers,
        statements=statements,
        version=version,
        timestamp=timestamp,
        spec_names=spec_names,
    ).save(place)


def _added(
    path: str | os.PathLike[str],
    signers: Sequence[Signer],
    place: Path | str,
    *,
    cache: str | os.PathLike[str] | StatCache | None,
    progress: Progress | None,
    timestamp: Authority | None,
    include_secrets: bool,
    **wanted: Any,
) -> Bundle:
    """Add signers to the bundle of unchanged files."""
    bundle, claim = open_to_add(place, signers)
    require_same(claim, os.fspath(place), **wanted)
    ignore = ignore_for(path, claim.manifest.ignore, place)
    require_no_secrets(path, ignore, include=include_secrets)
    manifest = hash_path(
        path,
        algorithm=claim.manifest.algorithm,
        ignore=ignore,
        cache=cache,
        progress=progress,
        shard_size=claim.manifest.shard_size,
    )
    require_unchanged(claim, manifest, os.fspath(path))
    extended, mine = with_signatures(bundle, signers)
    stamps = (*bundle.timestamps, *_stamps(mine, timestamp))
    return dataclasses.replace(extended, timestamps=stamps).save(place)


@checked
def sign_manifest(
    manifest: Manifest,
    signer: Signer | Sequence[Signer],
    *,
    statements: Sequence[Statement] = (),
    version: int | None = None,
    timestamp: Authority | None = None,
    spec_names: bool = False,
) -> Bundle:
    """Sign an existing manifest; nothing is read or written.

    Args:
        manifest: Names and digests to sign.
        signer: As for `sign`.
        statements: As for `sign`.
        version: As for `sign`.
        timestamp: As for `sign`.
        spec_names: As for `sign`.

    Raises:
        UsageError: The manifest is empty, or a statement is about something else.
    """
    payload = build_payload(manifest, statements, version=version, spec_names=spec_names)
    return _seal(payload, _listed(signer), timestamp)


def _listed(signer: Signer | Sequence[Signer]) -> list[Signer]:
    many = (signer,) if isinstance(signer, Signer) else signer
    signers = list(several("signer", many, "signers", Signer))
    if not signers:
        raise UsageError("signer: expected at least one Signer, got none")
    if len(signers) > MAX_SIGNATURES:
        raise UsageError(f"signer: expected at most {MAX_SIGNATURES} Signers, got {len(signers)}")
    if len(signers) > 1 and any(one.certificates for one in signers):
        raise UsageError(
            "a bundle holds one certificate chain: expected one certified signer, or several "
            "signers with bare keys"
        )
    return signers


def _warn_of_empty(manifest: Manifest) -> None:
    if manifest.uncovered:
        warnings.warn(
            f"{manifest.name}: the signature does not cover empty files, which have no shard: "
            f"{', '.join(manifest.uncovered[:5])}; sign whole files to cover them",
            MLSecOpsWarning,
            stacklevel=3,
        )


def _seal(payload: bytes, signers: Sequence[Signer], timestamp: Authority | None) -> Bundle:
    envelope = Envelope.seal(payload, signers)
    first = signers[0]
    return Bundle(
        envelope=envelope,
        hint=None if first.certificates else first.public_key.fingerprint,
        certificates=first.certificates,
        timestamps=_stamps(envelope.signatures, timestamp),
    )


def _stamps(signatures: Iterable[Signature], authority: Authority | None) -> tuple[bytes, ...]:
    if authority is None:
        return ()
    return tuple(request_timestamp(signature.value, authority) for signature in signatures)
