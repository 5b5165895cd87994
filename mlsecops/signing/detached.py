"""Bare RSA signatures of single files, as many pipelines store them (`model.h5.sig`).

file → SHA-256 as ASCII hexadecimal → RSA-PSS with SHA-256 and MGF1-SHA256 → raw signature

There is no name, time or statement: it proves that a key's holder signed these bytes, no more.
"""

from __future__ import annotations

import base64
import binascii
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlsecops._choices import checked
from mlsecops._files import write_atomically
from mlsecops.errors import (
    Expired,
    MalformedBundle,
    Revoked,
    SignatureInvalid,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.files.hashing import hash_file
from mlsecops.provenance.files.opening import followed
from mlsecops.provenance.manifest import hash_path
from mlsecops.signing.bundle import read_bundle
from mlsecops.signing.checks.existing import refused
from mlsecops.signing.checks.secret_files import require_no_secrets
from mlsecops.signing.keys import PublicKey, Signer, signature_by
from mlsecops.signing.oms import ModelClaim
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.requirements.evidence import require_claims
from mlsecops.signing.scope import TrustedKey
from mlsecops.signing.signature import bundle_path
from mlsecops.signing.verified import SignedModel, Verified, prove

_RSA_BYTES: Final = range(256, 2049)  # bytes of a signature; keys of 2,048 to 16,384 bits


@checked
def sign_detached(
    path: str | os.PathLike[str],
    signer: Signer,
    *,
    out: str | os.PathLike[str] | None = None,
    replace: bool = False,
    include_secrets: bool = False,
) -> Path:
    """Sign one file with an RSA key, and write the raw signature to a file.

    Args:
        path: The file.
        signer: Signer with an RSA key.
        out: File of the signature; by default `FILE.sig`. An older bare signature there is
            replaced, since it does not say whose it is.
        replace: Whether to write over a bundle.
        include_secrets: Whether to sign a private key or a file of credentials.

    Returns:
        Path of the signature.

    Raises:
        UsageError: The key is not RSA, the path is not a file that can be read, or a bundle is
            there.
        UnsafeContent: The file is a private key or holds credentials.
        SignatureInvalid: The signer's answer does not match its public key.
    """
    _require_rsa(signer.public_key)
    if Path(path).is_dir():
        raise UsageError(
            f"{os.fspath(path)} is a folder: a detached signature is for one file; "
            "sign the folder with a bundle"
        )
    place = bundle_path(path) if out is None else out
    require_no_secrets(path, (), include=include_secrets)
    held = read_bundle(place) if os.path.lexists(place) and not replace else b""
    if held and not looks_detached(held):
        raise refused(os.fspath(place), "a bundle")
    return write_atomically(place, signature_by(signer, _message(_digest(path))))


@checked
def verify_detached(
    path: str | os.PathLike[str],
    public_key: PublicKey | str | bytes | os.PathLike[str],
    signature: str | bytes | os.PathLike[str] | None = None,
) -> Digest:
    """Verify a file's detached signature.

    Args:
        path: The file.
        public_key: The RSA key; a PublicKey, PEM text or bytes, or a path.
        signature: The signature's bytes (raw or base64), or its path; by default `FILE.sig`.

    Returns:
        Digest of the signed file.

    Raises:
        SignatureMissing: There is no signature.
        MalformedBundle: It cannot be a signature.
        SignatureInvalid: The key did not sign this file.
        UsageError: The key is not RSA.
    """
    key = PublicKey.load(public_key)
    _require_rsa(key)
    place = bundle_path(path) if signature is None or isinstance(signature, bytes) else signature
    data = signature if isinstance(signature, bytes) else read_bundle(place)
    digest = _digest(path)
    _verify(key, _raw(data, os.fspath(place)), digest, f"{os.fspath(path)}")
    return digest


def looks_detached(data: bytes) -> bool:
    """Whether bytes are of the size of a bare RSA signature, raw or in base64, and not JSON."""
    return _is_raw(data) or len(_from_base64(data) or b"") in _RSA_BYTES


def verify_detached_model(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    policy: TrustPolicy,
    where: str,
    at: datetime | None = None,
    name: str | None = None,
) -> Verified:
    """Verify a file's detached signature under a trust policy.

    The file's name is not signed: it is refused where a name is demanded, where the policy
    restricts keys or floors by model name, and for a model with a version floor. There are no
    statements, so a policy that requires claims refuses it.

    Args:
        path: The file.
        data: The signature, raw or base64.
        policy: Trust policy.
        where: Path of the signature, for messages.
        at: Time of verification, timezone-aware; now by default.
        name: Name that is demanded, or None.

    Raises:
        MalformedBundle: The policy has no RSA key.
        SignatureInvalid: No trusted RSA key signed this file.
        PolicyError: One did, and the policy does not accept it.
    """
    actual = hash_path(path)
    digest = actual.entries[0].digest
    signature = _raw(data, where)
    trusted = _maker(policy, signature, digest, where)
    fingerprint = trusted.key.fingerprint
    _require_usable(policy, trusted, at or datetime.now(UTC), where)
    if policy.threshold > 1:
        raise ThresholdNotMet(
            f"{where}: expected {policy.threshold} trusted signers, got one detached signature; "
            "sign with a bundle"
        )
    policy.require_algorithm(actual.algorithm, where=where)
    policy.require_not_revoked(actual)
    policy.require_floor(actual.name, None, where=where)
    if name is not None or policy.restricts_names:
        raise UntrustedSigner(
            f"{where}: expected the model {actual.name if name is None else name!r}, got a "
            "detached signature, which names no model; sign with a bundle"
        )
    claim = ModelClaim(manifest=actual, subject=actual.root, statements=())
    require_claims(policy.require, claim, where=where)
    signed = SignedModel(manifest=actual, statements=(), signers=(fingerprint,))
    return prove(signed, ignored=(), detached=True)


def _maker(policy: TrustPolicy, signature: bytes, digest: Digest, where: str) -> TrustedKey:
    keys = [trusted for trusted in policy.keys if trusted.key.key_type == "rsa"]
    if not keys:
        raise MalformedBundle(
            f"{where}: not a bundle (it is not JSON) but of the size of a detached RSA signature: "
            "expected an RSA key in the policy to verify it with; trust one, or sign with a bundle"
        )
    for trusted in keys:
        try:
            _verify(trusted.key, signature, digest, where)
        except SignatureInvalid:
            continue
        return trusted
    known = ", ".join(trusted.key.fingerprint[:16] for trusted in keys)
    raise SignatureInvalid(
        f"{where}: a detached RSA signature that no trusted RSA key ({known}) made over these "
        "bytes; the file or the signature was changed, or the key is another"
    )


def _require_usable(policy: TrustPolicy, trusted: TrustedKey, at: datetime, where: str) -> None:
    who = f"{where}: key {trusted.key.fingerprint[:16]}"
    if policy.key_revoked(trusted.key.fingerprint):
        raise Revoked(f"{who} is revoked; sign again with another")
    if trusted.scope.models:
        raise UntrustedSigner(
            f"{who} may sign {', '.join(trusted.scope.models)}, and a detached signature does not "
            "say which model it is for; sign with a bundle"
        )
    if not trusted.scope.covers(at):
        raise Expired(
            f"{who} is trusted from {trusted.scope.not_before or 'ever'} to "
            f"{trusted.scope.not_after or 'ever'}, not at {at:%Y-%m-%d %H:%M} UTC; sign again"
        )


def _verify(key: PublicKey, signature: bytes, digest: Digest, where: str) -> None:
    try:
        key.verify(signature, _message(digest))
    except SignatureInvalid as error:
        raise SignatureInvalid(f"{where}: {error}") from error


def _require_rsa(key: PublicKey) -> None:
    if key.key_type != "rsa":
        raise UsageError(
            f"a detached signature needs an RSA key, got {key.key_type}; "
            "use an RSA key, or sign with a bundle"
        )


def _digest(path: str | os.PathLike[str]) -> Digest:
    return hash_file(followed(path))[0]


def _message(digest: Digest) -> bytes:
    return digest.hex.encode("ascii")


def _raw(data: bytes, where: str) -> bytes:
    raw = data if _is_raw(data) else _from_base64(data)
    if raw is None or len(raw) not in _RSA_BYTES:
        raise MalformedBundle(
            f"{where}: expected a detached RSA signature of {_RSA_BYTES.start} bytes or more, raw "
            f"or base64, got {len(data)} bytes that are neither"
        )
    return raw


def _is_raw(data: bytes) -> bool:
    """Whether bytes are a raw signature: of its size, and no UTF-8 text."""
    if len(data) not in _RSA_BYTES:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _from_base64(data: bytes) -> bytes | None:
    if len(data) > 2 * _RSA_BYTES.stop:
        return None
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
