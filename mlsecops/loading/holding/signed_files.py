"""Signed claim about an artifact, and the files that it speaks of; none is read yet.

bundle under a policy → SignedModel, the meant one and not isolated → layout of the files → Opened
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlsecops.audit import AccessControl
from mlsecops.errors import DigestMismatch
from mlsecops.loading.artifact import ArtifactLayout, layout
from mlsecops.loading.recheck import require_not_isolated, require_signers
from mlsecops.loading.telemetry import LoadRecord
from mlsecops.provenance import Digest, Isolation
from mlsecops.signing import TrustPolicy, Verifier, ignore_for, read_bundle, without_bundle
from mlsecops.signing.naming import ExpectedName
from mlsecops.signing.verified import SignedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A claim of trusted signers with the files that are there.

    Attributes:
        where: Path of the artifact, for messages.
        verifier: What compares the files later.
        bundle: Bytes of the signature.
        signed: The claim.
        files: Layout of the files.
        hidden: Names that the signature does not cover.
    """

    where: str
    verifier: Verifier
    bundle: bytes
    signed: SignedModel
    files: ArtifactLayout
    hidden: tuple[str, ...]


def open_signed(
    path: str | os.PathLike[str],
    place: Path,
    record: LoadRecord,
    *,
    policy: TrustPolicy,
    isolation: Isolation | None,
    access: AccessControl | None,
    expected: ExpectedName | None,
    digest: Digest | None = None,
    file: str | None = None,
    whole: bool = False,
) -> Opened:
    """Verify the signature of an artifact, and list its files.

    Args:
        path: The artifact.
        place: Path of the bundle.
        record: Record of the load.
        policy: Who may sign.
        isolation: Source of isolated digests, or None.
        access: Decides about the load, or None.
        expected: Name that the model must be signed under.
        digest: Root digest of the one accepted model, or None.
        file: Which file of a folder is the model.
        whole: Whether every file of the folder is wanted.

    Raises:
        VerificationError: It is not signed, not accepted, or another model.
        AccessDenied: The subject may not load it.
        FormatRefused: A folder holds no model, or several and none is named.
    """
    where = os.fspath(path)
    verifier = Verifier(policy)
    with record.step("verify"):
        bundle = read_bundle(place)
        signed = verifier.open(bundle, where=os.fspath(place), expected=expected)
        root = signed.manifest.root
        record.note(digest=str(root), signers=signed.signers)
        if digest is not None and root != digest:
            raise DigestMismatch(
                f"{where}: expected {digest}, got {root}: another signed model is in its place"
            )
        require_not_isolated(root, isolation, where=where)
        require_signers(signed.signers, policy, isolation, where=where)
        if access is not None:
            version = {} if signed.version is None else {"version": signed.version}
            known = {"digest": str(root), **version}
            access.demand("model:load", signed.manifest.name, attributes=known)
    files = layout(
        path, ignore=ignore_for(path, signed.ignore_paths, place), file=file, whole=whole
    )
    hidden = without_bundle(files.hidden, Path(path), place)
    return Opened(
        where=where, verifier=verifier, bundle=bundle, signed=signed, files=files,
        hidden=tuple(hidden),
    )  # fmt: skip
