"""Keyless signatures: an identity (a person's or a workflow's login) vouches instead of a key.

A model's statement goes to Sigstore, which certifies a throw-away key for the identity and logs the
signature; the bundle that comes back verifies against the identity and its issuer. All cryptography
of certificates and logs is sigstore-python's (extra `sigstore`); here the statement is built, and
after verification held against revocations, floors and the files.

Limits: signing needs the network (certificate authority, transparency log) and an identity token;
verification needs it once, to refresh Sigstore's trust roots, and then works with `offline=True`
from the local copy. The tests run without network: they cover the statement and its way back
through a stand-in for Sigstore, every refusal, and what is said when Sigstore cannot be reached;
they do not cover Sigstore's own service.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlsecops._extras import require
from mlsecops._files import write_atomically
from mlsecops.errors import (
    MalformedBundle,
    SignatureInvalid,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance import DEFAULT_IGNORE, Statement, hash_path
from mlsecops.signing import TrustPolicy, Verified, Verifier, bundle_path, ignore_for, read_bundle
from mlsecops.signing.bundle import MAX_BUNDLE_BYTES
from mlsecops.signing.envelope import IN_TOTO
from mlsecops.signing.oms import build_payload, read_payload
from mlsecops.signing.verification import match_path


def sign_keyless(
    path: str | os.PathLike[str],
    identity_token: str,
    *,
    out: str | os.PathLike[str] | None = None,
    statements: Sequence[Statement] = (),
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    version: int | None = None,
    staging: bool = False,
    context: Any = None,
) -> Path:
    """Sign a model's folder or file with an identity, through Sigstore.

    Args:
        path: The model.
        identity_token: OpenID Connect token of the identity, with audience `sigstore`.
        out: Where the bundle goes; by default `DIR/model.sig`, or `FILE.sig` beside a file.
        statements: Further statements about the model, covered by the same signature.
        algorithm: Digest algorithm of the files.
        ignore: Relative paths left out.
        version: Version of the model, for policies with a rollback floor.
        staging: Use Sigstore's staging instance, whose signatures nobody should trust.
        context: A `sigstore.sign.SigningContext` of one's own instance.

    Returns:
        Where the bundle is.

    Raises:
        UsageError: The token is refused, Sigstore cannot be reached, or the model is unreadable.
        MissingExtra: `sigstore` is not installed.
    """
    place = bundle_path(path) if out is None else Path(out)
    manifest = hash_path(path, algorithm=algorithm, ignore=ignore_for(path, ignore, place))
    payload = build_payload(manifest, statements, version=version)
    with _reaching_sigstore():
        token = require("sigstore.oidc").IdentityToken(identity_token)
        used = context if context is not None else _signing_context(staging=staging)
        with used.signer(token) as signer:
            bundle = signer.sign_dsse(require("sigstore.dsse").Statement(payload))
    return write_atomically(place, bundle.to_json().encode())


def verify_keyless(
    path: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    *,
    identity: str,
    issuer: str,
    policy: TrustPolicy | None = None,
    ignore_unsigned: Literal["refuse", "report"] = "refuse",
    offline: bool = False,
    staging: bool = False,
    verifier: Any = None,
) -> Verified:
    """Verify a model that an identity signed through Sigstore, and every file of it.

    Args:
        path: The model's folder or file.
        bundle: Its bundle; by default `DIR/model.sig`, or `FILE.sig` beside a file.
        identity: Who must have signed: an e-mail address or a workflow's URI, exactly.
        issuer: Who must have vouched for the identity: the OpenID Connect issuer's URL, exactly.
        policy: Revoked digests and rollback floor; its keys and roots play no part.
        ignore_unsigned: As for `mlsecops.verify`.
        offline: Use the local copy of Sigstore's trust roots rather than refresh it.
        staging: Trust Sigstore's staging instance instead.
        verifier: A `sigstore.verify.Verifier` of one's own instance.

    Raises:
        SignatureError: There is no bundle, it does not hold, or another identity made it.
        PolicyError: The digest is revoked, or the version below its floor.
        DigestMismatch: A file was added, removed or changed.
        UsageError: Sigstore's trust roots cannot be had.
        MissingExtra: `sigstore` is not installed.
    """
    place = bundle_path(path) if bundle is None else Path(bundle)
    where = os.fspath(place)
    rules = TrustPolicy() if policy is None else policy
    if rules.threshold > 1:
        raise ThresholdNotMet(
            f"{where}: expected {rules.threshold} trusted signers, got one identity; "
            "sign with several keys"
        )
    parsed = _parse(read_bundle(place), where)
    _require_identity(parsed, identity, issuer, where)
    with _reaching_sigstore():
        used = verifier if verifier is not None else _verifier(offline=offline, staging=staging)
    payload = _verified_payload(used, parsed, identity, issuer, where)
    ours = Verifier(rules)
    claim = read_payload(payload, where=where)
    signed = ours.admit(claim, (f"{identity} ({issuer})",), where=where)
    return match_path(ours, signed, path, place, ignore_unsigned=ignore_unsigned)


def _parse(data: bytes, where: str) -> Any:
    if len(data) > MAX_BUNDLE_BYTES:
        raise MalformedBundle(f"{where}: expected at most {MAX_BUNDLE_BYTES} bytes")
    models = require("sigstore.models")
    try:
        return models.Bundle.from_json(data)
    except Exception as error:
        # sigstore-python lets errors of its parsers through as they are.
        raise MalformedBundle(
            f"{where}: expected a keyless Sigstore bundle (a certificate and a log entry): {error}"
        ) from error


def _require_identity(bundle: Any, identity: str, issuer: str, where: str) -> None:
    expected = require("sigstore.verify.policy").Identity(identity=identity, issuer=issuer)
    try:
        expected.verify(bundle.signing_certificate)
    except require("sigstore.errors").VerificationError as error:
        raise UntrustedSigner(
            f"{where}: expected it signed by {identity} through {issuer}: {error}; "
            "get a signature from that identity"
        ) from error


def _verified_payload(verifier: Any, bundle: Any, identity: str, issuer: str, where: str) -> bytes:
    expected = require("sigstore.verify.policy").Identity(identity=identity, issuer=issuer)
    try:
        kind, payload = verifier.verify_dsse(bundle, expected)
    except require("sigstore.errors").Error as error:
        raise SignatureInvalid(f"{where}: Sigstore refuses the signature: {error}") from error
    if kind != IN_TOTO:
        raise MalformedBundle(f"{where}: expected payloadType {IN_TOTO}, got {kind!r}")
    return bytes(payload)


def _signing_context(*, staging: bool) -> Any:
    models, sign = require("sigstore.models"), require("sigstore.sign")
    trust = models.ClientTrustConfig
    return sign.SigningContext.from_trust_config(trust.staging() if staging else trust.production())


def _verifier(*, offline: bool, staging: bool) -> Any:
    verifier = require("sigstore.verify").Verifier
    make = verifier.staging if staging else verifier.production
    return make(offline=offline)


@contextmanager
def _reaching_sigstore() -> Iterator[None]:
    """Say in one line what failed while Sigstore was asked for something."""
    errors, oidc = require("sigstore.errors"), require("sigstore.oidc")
    try:
        yield
    except oidc.ExpiredIdentity as error:
        raise UsageError(
            "the identity token has expired: get a fresh one and sign again"
        ) from error
    except oidc.IdentityError as error:
        raise UsageError(f"the identity token is not accepted: {error}") from error
    except (errors.Error, OSError) as error:
        raise UsageError(
            f"cannot reach Sigstore: {type(error).__name__}: {error}; check the network, or sign "
            "with a key"
        ) from error
