"""Whether an artifact is what somebody trusted vouched for.

Bundle bytes and a policy give a :class:`SignedModel` (no file is read for that); a SignedModel and
the Manifest of what is there give a :class:`Verified`, which nothing else can make.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

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
from mlsecops.provenance.lineage import utc_now
from mlsecops.provenance.manifest import Manifest, hash_path
from mlsecops.provenance.statement import Statement
from mlsecops.provenance.tree import list_tree
from mlsecops.signing.bundle import Bundle, read_bundle
from mlsecops.signing.certificates import identity, require_chain
from mlsecops.signing.envelope import Signature
from mlsecops.signing.keys import PublicKey
from mlsecops.signing.oms import read_payload
from mlsecops.signing.policy import Scope, TrustPolicy
from mlsecops.signing.signature import bundle_path, ignore_for

_PROOF: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedModel:
    """What trusted signers vouch for; the files themselves are not looked at yet.

    Attributes:
        manifest: Signed names and digests.
        statements: Further signed statements about the model.
        signers: Fingerprints of keys, or certificate subjects, that count.
        ignore_paths: Paths that the signature leaves out.
    """

    manifest: Manifest
    statements: tuple[Statement, ...]
    signers: tuple[str, ...]

    @property
    def ignore_paths(self) -> tuple[str, ...]:
        """Relative paths that the signature does not cover."""
        return self.manifest.ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Proof that the artifact at a path had exactly the signed bytes when it was read.

    Attributes:
        name: Name of the model in its signature.
        digest: Root digest of the model.
        manifest: Signed names and digests.
        signers: Fingerprints of keys, or certificate subjects, that count.
        statements: Further signed statements about the model (provenance, bill of materials).
        ignored: Files that are present and that the signature does not cover.
    """

    name: str
    digest: Digest
    manifest: Manifest
    signers: tuple[str, ...]
    statements: tuple[Statement, ...]
    ignored: tuple[str, ...]
    proof: object

    def __post_init__(self) -> None:
        if self.proof is not _PROOF:
            raise UsageError("only verification makes a Verified; call verify(path, policy=…)")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "digest": str(self.digest),
            "files": len(self.manifest),
            "signers": list(self.signers),
            "statements": [statement.predicate_type for statement in self.statements],
            "ignored": list(self.ignored),
        }


class Verifier:
    """Applies one trust policy.

    Args:
        policy: Whom to trust.
        at: Time of verification, timezone-aware; now by default.
    """

    def __init__(self, policy: TrustPolicy, *, at: datetime | None = None) -> None:
        self._policy = policy
        self._at = at

    def open(self, data: bytes, *, where: str) -> SignedModel:
        """Check a bundle's signatures against the policy; no file is read.

        Args:
            data: The bundle's bytes.
            where: Where they came from, for messages.

        Raises:
            MalformedBundle: They are not a bundle.
            SignatureInvalid: A trusted key's signature does not match.
            PolicyError: Its signers, their number, time or digests are not accepted.
        """
        bundle = Bundle.from_bytes(data, where=where)
        claim = read_payload(bundle.envelope.payload, where=where)
        signers = self._signers(bundle, claim.manifest.name, where)
        if len(signers) < self._policy.threshold:
            raise ThresholdNotMet(
                f"{where}: expected {self._policy.threshold} trusted signers, got {len(signers)} "
                f"({', '.join(signer[:16] for signer in signers)}); have the others sign too"
            )
        self._policy.require_not_revoked(claim.subject)
        self._policy.require_not_revoked(claim.manifest)
        return SignedModel(manifest=claim.manifest, statements=claim.statements, signers=signers)

    def match(
        self, signed: SignedModel, actual: Manifest, *, where: str, ignored: Iterable[str] = ()
    ) -> Verified:
        """Demand that what is there is what was signed.

        Args:
            signed: What trusted signers vouch for.
            actual: Manifest of the very bytes that will be used.
            where: Path of the artifact, for messages.
            ignored: Files that are present and not covered by the signature.

        Raises:
            DigestMismatch: Something was added, removed or changed.
        """
        expected = signed.manifest
        if expected.single and actual.single:
            actual = actual.renamed(expected.name)
        expected.require(actual, where=where)
        return Verified(
            name=expected.name,
            digest=expected.root,
            manifest=expected,
            signers=signed.signers,
            statements=signed.statements,
            ignored=tuple(ignored),
            proof=_PROOF,
        )

    def _signers(self, bundle: Bundle, model: str, where: str) -> tuple[str, ...]:
        at = self._at or utc_now()
        if bundle.certificates:
            return (self._certified(bundle, model, at, where),)
        found: dict[str, None] = {}
        unknown: list[UntrustedSigner] = []
        for signature in bundle.envelope.signatures:
            try:
                found.setdefault(self._key_signer(bundle, signature, model, at, where))
            except UntrustedSigner as error:
                unknown.append(error)  # signatures of strangers neither count nor hurt
        if not found:
            raise unknown[0]
        return tuple(found)

    def _key_signer(
        self, bundle: Bundle, signature: Signature, model: str, at: datetime, where: str
    ) -> str:
        hint = signature.keyid or bundle.hint or ""
        for trusted in self._policy.keys:
            fingerprint = trusted.key.fingerprint
            if hint and hint != fingerprint:
                continue
            try:
                trusted.key.verify(signature.value, bundle.envelope.signed_bytes)
            except SignatureInvalid as error:
                if hint:
                    raise SignatureInvalid(f"{where}: {error}") from error
                continue
            self._require_scope(trusted.scope, fingerprint, model, at, where)
            return fingerprint
        known = ", ".join(trusted.key.fingerprint[:16] for trusted in self._policy.keys) or "none"
        raise UntrustedSigner(
            f"{where}: signed by key {hint[:16] or '(unnamed)'}: expected one of the trusted keys "
            f"({known}); trust that key, or get a signature from a trusted one"
        )

    def _certified(self, bundle: Bundle, model: str, at: datetime, where: str) -> str:
        if len(bundle.envelope.signatures) != 1:
            raise MalformedBundle(f"{where}: expected one signature beside a certificate chain")
        leaf = bundle.certificates[0]
        key = PublicKey.of_certificate(leaf)
        key.verify(bundle.envelope.signatures[0].value, bundle.envelope.signed_bytes)
        roots = [root for root in self._policy.roots if root.scope.allows(model)]
        require_chain(bundle.certificates, [root.certificate for root in roots], at=at)
        scopes = [root.scope for root in roots if root.scope.covers(at)]
        self._require_scope(
            scopes[0] if scopes else roots[0].scope, key.fingerprint, model, at, where
        )
        return identity(leaf)

    def _require_scope(
        self, scope: Scope, fingerprint: str, model: str, at: datetime, where: str
    ) -> None:
        if self._policy.key_revoked(fingerprint):
            raise Revoked(f"{where}: key {fingerprint[:16]} is revoked; sign again with another")
        if not scope.allows(model):
            raise UntrustedSigner(
                f"{where}: key {fingerprint[:16]} may sign {', '.join(scope.models)}, not {model!r}"
            )
        if not scope.covers(at):
            raise Expired(
                f"{where}: key {fingerprint[:16]} is trusted from {scope.not_before or 'ever'} to "
                f"{scope.not_after or 'ever'}, not at {at:%Y-%m-%d %H:%M} UTC"
            )


def verify(
    path: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    policy: TrustPolicy,
    ignore_unsigned: Literal["refuse", "report"] = "refuse",
    at: datetime | None = None,
) -> Verified:
    """Verify a model's signature and every file of it.

    The path may change right after: to load what was verified, use ``SecureLoader``.

    Args:
        path: The model's folder or file.
        bundle: Its bundle; by default ``DIR/model.sig``, or ``FILE.sig`` beside a file.
        policy: Whom to trust.
        ignore_unsigned: ``"refuse"`` a folder that holds unsigned files, or ``"report"`` them in
            ``Verified.ignored``.
        at: Time of verification, timezone-aware; now by default.

    Raises:
        SignatureError: There is no bundle, or it does not hold.
        PolicyError: It holds, but not as the policy demands.
        DigestMismatch: A file was added, removed or changed.

    Example:
        >>> import tempfile, pathlib
        >>> model = pathlib.Path(tempfile.mkdtemp()); _ = (model / "w.bin").write_bytes(b"weights")
        >>> from mlsecops import Signer, TrustPolicy, sign, verify
        >>> signer = Signer.generate("p256")
        >>> _ = sign(model, signer)
        >>> verify(model, policy=TrustPolicy(keys=[signer.public_key])).manifest["w.bin"].algorithm
        'sha256'
    """
    place = bundle_path(path) if bundle is None else _place(bundle)
    data = bundle.to_bytes() if isinstance(bundle, Bundle) else read_bundle(place)
    verifier = Verifier(policy, at=at)
    signed = verifier.open(data, where=os.fspath(place))
    ignore = ignore_for(path, signed.ignore_paths, place)
    actual = hash_path(path, algorithm=signed.manifest.algorithm, ignore=ignore)
    hidden = _hidden(path, ignore, place)
    if ignore_unsigned == "report":
        extra = [entry for entry in actual if entry.name not in signed.manifest]
        hidden = (*hidden, *(entry.name for entry in extra))
        actual = actual.restricted(signed.manifest)
    return verifier.match(signed, actual, where=os.fspath(path), ignored=hidden)


def _place(bundle: str | os.PathLike[str] | Bundle) -> Path:
    if isinstance(bundle, Bundle):
        return bundle.path or Path("bundle")
    return Path(bundle)


def _hidden(path: str | os.PathLike[str], ignore: tuple[str, ...], place: Path) -> tuple[str, ...]:
    root = Path(path)
    if not root.is_dir():
        return ()
    own = place.resolve()
    names = list_tree(root, ignore=ignore).ignored
    return tuple(name for name in names if (root / name).resolve() != own)
