"""Bundle that exists where a new one is written: kept, replaced, or extended by a signature.

sign → bundle of the signers' own keys → replaced; of another's → refused, with the ways out named
sign, `add=True` → unchanged files → same payload, one more signature for each signer → Bundle
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mlsecops.errors import MalformedBundle, SignatureInvalid, UsageError
from mlsecops.provenance.manifest import Manifest
from mlsecops.provenance.statement import Statement
from mlsecops.signing.bundle import MAX_SIGNATURES, Bundle, bundle_exists, read_bundle
from mlsecops.signing.certificates import identity
from mlsecops.signing.envelope import Signature
from mlsecops.signing.identities.certificate import identity_of
from mlsecops.signing.identities.transparency import split_signatures
from mlsecops.signing.keys import PublicKey, Signer, signature_by
from mlsecops.signing.legacy import verify_either
from mlsecops.signing.oms import ModelClaim, known_digests, read_payload
from mlsecops.signing.verifier import is_single


def require_replaceable(
    place: str | os.PathLike[str], signers: Iterable[Signer]
) -> tuple[Statement, ...]:
    """Demand that a new bundle at a path loses nobody else's signature.

    Args:
        place: Path of the new bundle.
        signers: Its signers; bundles of their own keys may be replaced.

    Returns:
        The further statements of the old bundle, for `require_statements`.

    Raises:
        UsageError: Another key's signature, or what is no readable bundle, is there.
    """
    data = read_bundle(place) if bundle_exists(place) else b""
    if not data:
        return ()
    where = os.fspath(place)
    try:
        bundle = Bundle.from_bytes(data, where=where)
    except MalformedBundle as error:
        raise refused(where, f"what cannot be read as a bundle of a key ({error})") from error
    keys = [signer.public_key for signer in signers]
    for signature in bundle.envelope.signatures:
        if not _made_by(keys, signature, bundle):
            kind = "key" if bundle.keyless is None else "signer"
            raise refused(where, f"a signature of another {kind} ({_name(signature, bundle)})")
    try:
        return read_payload(bundle.envelope.payload, where=where).statements
    except MalformedBundle:
        return ()  # one's own, of another version of the format


def require_statements(
    held: Iterable[Statement], statements: Iterable[Statement], manifest: Manifest, where: str
) -> None:
    """Demand that a new bundle has statements of every kind that an old one has about these files.

    Args:
        held: Statements of the old bundle.
        statements: Those of the new one.
        manifest: Files that are signed; statements about other files are out of date.
        where: Path of the bundle, for messages.

    Raises:
        UsageError: One would be lost.
    """
    known = known_digests(manifest)
    about = (each for each in held if not known.isdisjoint(each.subjects.values()))
    kinds = Counter(each.predicate_type for each in about)
    lost = sorted((kinds - Counter(each.predicate_type for each in statements)).elements())
    if lost:
        raise refused(where, f"statements that would be lost ({', '.join(lost)})")


def refused(where: str, what: str) -> UsageError:
    """The refusal to write over a bundle; it names the ways out."""
    return UsageError(
        f"{where}: expected no bundle or one of the same key, got {what}; --add (add=True) adds a "
        "signature to it, --replace (replace=True) replaces it, and out= writes elsewhere"
    )


def open_to_add(place: Path | str, signers: Sequence[Signer]) -> tuple[Bundle, ModelClaim]:
    """A bundle that further signatures can be added to, and its claim, which is not trusted yet.

    Raises:
        SignatureMissing: There is no bundle.
        MalformedBundle: It is not one of a model.
        UsageError: It, or a signer, has a certificate chain, of which a bundle holds one.
    """
    where = os.fspath(place)
    bundle = replace(Bundle.from_bytes(read_bundle(place), where=where), path=place)
    chained = bundle.certificates and bundle.keyless is None
    if chained or any(signer.certificates for signer in signers):
        raise UsageError(
            f"{where}: a bundle holds one certificate chain with one signature: expected signers "
            "with bare keys to add to a bundle of bare keys or of an identity; write another "
            "bundle with out="
        )
    return bundle, read_payload(bundle.envelope.payload, where=where)


def require_same(
    claim: ModelClaim,
    where: str,
    *,
    name: str | None,
    version: int | None,
    algorithm: str,
    statements: Iterable[Statement],
) -> None:
    """Demand that what a caller wants to sign is what a bundle says already.

    Raises:
        UsageError: The bundle says something else.
    """
    known = {statement.payload for statement in claim.statements}
    wanted = {
        "name": (name, claim.manifest.name),
        "version": (version, claim.version),
        "algorithm": (None if algorithm == "sha256" else algorithm, claim.manifest.algorithm),
    }
    for key, (new, held) in wanted.items():
        if new is not None and new != held:
            raise UsageError(
                f"{where}: --add signs what the bundle says, {key} {held!r}, got {new!r}; leave it "
                "out, or sign anew with --replace"
            )
    if any(statement.payload not in known for statement in statements):
        raise UsageError(
            f"{where}: --add signs the statements of the bundle and takes no new ones; sign anew "
            "with --replace, together with the other signers"
        )


def require_unchanged(claim: ModelClaim, actual: Manifest, where: str) -> None:
    """Demand that files are exactly those of a claim.

    Raises:
        DigestMismatch: A file was added, removed or changed.
    """
    if actual.single and is_single(claim.manifest):
        actual = actual.renamed(claim.manifest.name)
    claim.manifest.require(actual, where=where)


def with_signatures(bundle: Bundle, signers: Iterable[Signer]) -> tuple[Bundle, list[Signature]]:
    """A bundle with a signature of each signer, and those signatures; a valid one is kept.

    Raises:
        SignatureInvalid: A signer's answer does not match its public key.
        UsageError: There would be too many signatures.
    """
    data = bundle.envelope.signed_bytes
    kept = list(bundle.envelope.signatures)
    if bundle.keyless is not None:
        identified, others = split_signatures(bundle, where=str(bundle.path))
        kept = [replace(identified, keyid=""), *others]
    elif len(kept) == 1:  # a lone signature is named by the bundle's hint
        kept = [replace(kept[0], keyid=kept[0].keyid or bundle.hint or "")]
    mine: list[Signature] = []
    for signer in signers:
        key = signer.public_key
        own = [each for each in kept if each.keyid in {"", key.fingerprint}]
        valid = next((each for each in own if _verifies(key, each, data)), None)
        if valid is None:
            valid = Signature(signature_by(signer, data), key.fingerprint)
            kept = [*(each for each in kept if each.keyid != key.fingerprint), valid]
        mine.append(valid)
    if len(kept) > MAX_SIGNATURES:
        raise UsageError(f"{bundle.path}: expected at most {MAX_SIGNATURES} signatures")
    return replace(bundle, envelope=replace(bundle.envelope, signatures=tuple(kept))), mine


def _name(signature: Signature, bundle: Bundle) -> str:
    """Name of a signature's key or identity, as far as the bundle says it."""
    if bundle.keyless is not None and not signature.keyid:
        return str(identity_of(bundle.certificates[0]) or "an identity")
    if not bundle.certificates or bundle.keyless is not None:
        return signature.keyid or bundle.hint or ""
    try:
        return PublicKey.of_certificate(bundle.certificates[0]).fingerprint
    except UsageError:
        return identity(bundle.certificates[0])  # a key of a kind that no signer has


def _made_by(keys: Iterable[PublicKey], signature: Signature, bundle: Bundle) -> bool:
    name = _name(signature, bundle)
    return any(key.fingerprint == name or _matches(key, signature, bundle) for key in keys)


def _matches(key: PublicKey, signature: Signature, bundle: Bundle) -> bool:
    try:
        verify_either(key, signature.value, bundle.envelope)
    except SignatureInvalid:
        return False
    return True


def _verifies(key: PublicKey, signature: Signature, data: bytes) -> bool:
    try:
        key.verify(signature.value, data)
    except SignatureInvalid:
        return False
    return True
