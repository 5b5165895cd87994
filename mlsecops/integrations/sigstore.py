"""Keyless signatures through Sigstore, by the identity of a person or workflow.

model → statement → Sigstore certifies a short-lived key of the identity and logs the signature →
bundle → verification against identity and issuer, then revocations, rollback floor and files.
sigstore-python (extra `sigstore`) does the cryptography of certificates and logs.

Limits: signing needs the network and an identity token. Verification needs the network once, to
refresh Sigstore's trust roots; with `offline=True` it uses the local copy. The tests use a stand-in
for Sigstore's service.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._files import write_atomically
from mlsecops.errors import (
    MalformedBundle,
    Revoked,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance import DEFAULT_IGNORE, Statement, hash_path
from mlsecops.signing import TrustPolicy, Verified, Verifier, bundle_path, ignore_for, read_bundle
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.checks.existing import refused, require_statements
from mlsecops.signing.checks.secret_files import require_no_secrets
from mlsecops.signing.identities.certificate import Certified, identity_of
from mlsecops.signing.identities.transparency import proven_time, split_signatures
from mlsecops.signing.naming import expected_name, model_name
from mlsecops.signing.oms import build_payload, read_payload
from mlsecops.signing.verification import match_path


@checked
def sign_keyless(
    path: str | os.PathLike[str],
    identity_token: str,
    *,
    out: str | os.PathLike[str] | None = None,
    statements: Sequence[Statement] = (),
    algorithm: str = "sha256",
    ignore: Iterable[str] = DEFAULT_IGNORE,
    version: int | None = None,
    name: str | None = None,
    replace: bool = False,
    include_secrets: bool = False,
    staging: bool = False,
    context: Any = None,
) -> Path:
    """Sign a model's folder or file with an identity, through Sigstore.

    Args:
        path: Folder or file of the model.
        identity_token: OpenID Connect token of the identity, with audience `sigstore`.
        out: Path of the bundle; by default `DIR/model.sig` or `FILE.sig`.
        statements: Further statements about the model, covered by the same signature.
        algorithm: Digest algorithm of the files.
        ignore: Relative paths to leave out.
        version: Version of the model, for policies with a rollback floor.
        name: Name of the model; by default the base name of the path.
        replace: Whether to replace a bundle of another identity or of a key, or its statements.
        include_secrets: As for `mlsecops.sign`.
        staging: Use Sigstore's staging instance, for tests alone.
        context: A `sigstore.sign.SigningContext` of another instance.

    Returns:
        Path of the bundle.

    Raises:
        UsageError: The token is refused, Sigstore cannot be reached, or the model is unreadable.
        MissingExtra: `sigstore` is not installed.
    """
    place = bundle_path(path) if out is None else Path(out)
    require_no_secrets(path, ignore_for(path, ignore, place), include=include_secrets)
    manifest = hash_path(path, algorithm=algorithm, ignore=ignore_for(path, ignore, place))
    if name is not None:
        manifest = dataclasses.replace(manifest, name=model_name(name))
    payload = build_payload(manifest, statements, version=version)
    with _reaching_sigstore():
        token = require("sigstore.oidc").IdentityToken(identity_token)
        if not replace:
            held = _require_replaceable(place, token)
            require_statements(held, statements, manifest, os.fspath(place))
        used = context if context is not None else _signing_context(staging=staging)
        with used.signer(token) as signer:
            bundle = signer.sign_dsse(require("sigstore.dsse").Statement(payload))
    return write_atomically(place, bundle.to_json().encode())


@checked
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
    name: str | None = None,
) -> Verified:
    """Verify a model, with every file of it, that an identity signed through Sigstore.

    Args:
        path: Folder or file of the model.
        bundle: Path of the bundle; by default `DIR/model.sig` or `FILE.sig`.
        identity: Exact e-mail address or workflow URI of the signer.
        issuer: Exact URL of the OpenID Connect issuer of the identity.
        policy: Revoked digests and rollback floor; its keys and roots are not used.
        ignore_unsigned: As for `mlsecops.verify`.
        offline: Use the local copy of Sigstore's trust roots without a refresh.
        staging: Trust Sigstore's staging instance instead.
        verifier: A `sigstore.verify.Verifier` of another instance.
        name: As for `mlsecops.verify`.

    Raises:
        SignatureError: There is no bundle, it is invalid, or another identity signed it.
        PolicyError: The digest is revoked, or the version is below the floor.
        DigestMismatch: A file was added, removed or changed.
        UsageError: Sigstore's trust roots are not available.
        MissingExtra: `sigstore` is not installed.
    """
    place = bundle_path(path) if bundle is None else Path(bundle)
    where = os.fspath(place)
    rules = TrustPolicy() if policy is None else policy
    if rules.threshold > 1:
        raise ThresholdNotMet(
            f"{where}: expected {rules.threshold} trusted signers, got one identity; "
            "sign with several keys, or verify with TrustPolicy(identities=…)"
        )
    parsed = _keyless(read_bundle(place), where)
    who = identity_of(parsed.certificates[0])
    if who != Certified(identity, issuer):
        raise UntrustedSigner(
            f"{where}: expected it signed by {identity} ({issuer}), got {who or 'no identity'}; "
            "get a signature from that identity"
        )
    if rules.identity_revoked([identity], issuer):
        raise Revoked(f"{where}: {who} is revoked; sign again with another identity")
    mine, _ = split_signatures(parsed, where=where)
    with _reaching_sigstore():
        used = verifier if verifier is not None else _verifier(offline=offline, staging=staging)
    proven_time(parsed, mine, who=who, root=None, where=where, verifier=used)
    ours = Verifier(rules)
    claim = read_payload(parsed.envelope.payload, where=where)
    expected = expected_name(path, name)
    signed = ours.admit(claim, (str(who),), where=where, expected=expected)
    return match_path(ours, signed, path, place, ignore_unsigned=ignore_unsigned)


def _keyless(data: bytes, where: str) -> Bundle:
    parsed = Bundle.from_bytes(data, where=where)
    if parsed.keyless is None:
        raise MalformedBundle(
            f"{where}: expected a keyless Sigstore bundle (a certificate and a log entry), got one "
            "of a key or a certificate authority; verify it with mlsecops.verify"
        )
    return parsed


def _require_replaceable(place: Path, token: Any) -> tuple[Statement, ...]:
    """Demand that a new bundle loses nobody else's signature; return the old statements."""
    data = read_bundle(place) if os.path.lexists(place) else b""
    if not data:
        return ()
    where = os.fspath(place)
    try:
        held = _keyless(data, where)
    except MalformedBundle as error:
        raise refused(where, f"another signature ({error})") from error
    who = identity_of(held.certificates[0])
    if who != Certified(token.identity, token.issuer):
        raise refused(where, f"a signature of another signer ({who})")
    if len(held.envelope.signatures) > 1:
        raise refused(where, "signatures of keys in addition")
    try:
        return read_payload(held.envelope.payload, where=where).statements
    except MalformedBundle:
        return ()  # one's own, of another version of the format


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
    """Raise errors of Sigstore's services as `UsageError`."""
    errors, oidc = require("sigstore.errors"), require("sigstore.oidc")
    try:
        yield
    except oidc.ExpiredIdentity as error:
        raise UsageError(
            "identity_token: expected a valid one, got an expired one; get a fresh one"
        ) from error
    except oidc.IdentityError as error:
        raise UsageError(f"identity_token: Sigstore refuses it: {error}") from error
    except (errors.Error, OSError) as error:
        raise UsageError(
            f"cannot reach Sigstore: {type(error).__name__}: {error}; check the network, or sign "
            "with a key"
        ) from error
