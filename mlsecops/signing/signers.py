"""Signer check: the trusted signers of a bundle under a trust policy.

Bundle, name of the model, time → SignerCheck → fingerprints, subjects or identities that count

A signature of an unknown key is ignored; one that names a trusted key and does not match always
refuses the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from cryptography import x509

from mlsecops.errors import (
    Expired,
    MalformedBundle,
    PolicyError,
    Revoked,
    SignatureInvalid,
    ThresholdNotMet,
    UntrustedSigner,
    UsageError,
    VerificationError,
)
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.certificates import (
    fingerprints,
    identity,
    path_to,
    require_usable,
    subjects,
)
from mlsecops.signing.envelope import Signature
from mlsecops.signing.identities.certificate import identity_of
from mlsecops.signing.identities.transparency import proven_time, split_signatures
from mlsecops.signing.keys import PublicKey
from mlsecops.signing.legacy import verify_either
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.scope import Scope, TrustedRoot
from mlsecops.signing.timestamps import stamped_time

_RANKED: Final = (UntrustedSigner, Expired, Revoked)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerCheck:
    """Check of one bundle under one policy.

    Attributes:
        policy: Trust policy.
        bundle: The bundle with its claimed signers.
        model: Name of the model, which selects scopes.
        at: Time of verification, timezone-aware.
        where: Path of the bundle, for messages.
        legacy: Whether signatures of the first release (v0.2.0) are accepted too.
    """

    policy: TrustPolicy
    bundle: Bundle
    model: str
    at: datetime
    where: str
    legacy: bool = False

    def require(self) -> tuple[str, ...]:
        """Distinct trusted signers, at least as many as the policy demands.

        Raises:
            SignatureInvalid: A trusted key's signature does not match.
            PolicyError: Too few count: unknown, revoked, expired or out of their scope.
        """
        found: dict[str, None] = {}
        refused: list[PolicyError] = []
        for attempt in self._attempts():
            try:
                found.setdefault(attempt())
            except PolicyError as error:
                refused.append(error)
        needed = self.policy.threshold
        if len(found) >= needed:
            return tuple(found)
        if not found and needed == 1:
            raise max(refused, key=_telling)
        raise ThresholdNotMet(
            f"{self.where}: expected {needed} trusted signers, got {len(found)} "
            f"({', '.join(map(_short, found)) or 'none'}); add the others' signatures "
            "(sign --add)" + "".join(f"; {error}" for error in refused)
        )

    def _attempts(self) -> Iterator[Callable[[], str]]:
        if self.bundle.keyless is not None:
            mine, others = split_signatures(self.bundle, where=self.where)
            yield partial(self._identified, mine)
            for signature in others:
                yield partial(self._keyed, signature)
        elif self.bundle.certificates:
            if len(self.bundle.envelope.signatures) != 1:
                raise MalformedBundle(
                    f"{self.where}: expected one signature with a certificate chain"
                )
            yield self._certified
        else:
            for signature in self.bundle.envelope.signatures:
                yield partial(self._keyed, signature)

    def _keyed(self, signature: Signature) -> str:
        hint = signature.keyid or self.bundle.hint or ""
        named = [key for key in self.policy.keys if hint in {"", key.key.fingerprint}]
        makers = [trusted for trusted in named if self._made_by(trusted.key, signature, hint)]
        if not makers:
            known = ", ".join(key.key.fingerprint[:16] for key in self.policy.keys) or "none"
            raise UntrustedSigner(
                f"{self.where}: signed by key {hint[:16] or '(unnamed)'}: expected one of the "
                f"trusted keys ({known}); trust that key, or get a signature from a trusted one"
            )
        fingerprint = makers[0].key.fingerprint
        who = f"key {fingerprint[:16]}"
        self._require_not_revoked(who, fingerprint)
        self._require_scope([trusted.scope for trusted in makers], who, self._signed_at(signature))
        return fingerprint

    def _made_by(self, key: PublicKey, signature: Signature, hint: str) -> bool:
        try:
            self._verify(key, signature)
        except SignatureInvalid as error:
            if hint:
                raise SignatureInvalid(f"{self.where}: {error}") from error
            return False
        return True

    def _verify(self, key: PublicKey, signature: Signature) -> None:
        if self.legacy:
            verify_either(key, signature.value, self.bundle.envelope)
        else:
            key.verify(signature.value, self.bundle.envelope.signed_bytes)

    def _certified(self) -> str:
        chain = self.bundle.certificates
        signature = self.bundle.envelope.signatures[0]
        leaf = chain[0]
        try:
            key = PublicKey.of_certificate(leaf)
        except UsageError as error:
            raise UntrustedSigner(
                f"{self.where}: certificate {identity(leaf)!r}: {error}"
            ) from error
        try:
            self._verify(key, signature)
        except SignatureInvalid as error:
            raise SignatureInvalid(
                f"{self.where}: signed by certificate {identity(leaf)!r}: {error}"
            ) from error
        if signature.keyid not in {"", *fingerprints(leaf)}:
            raise SignatureInvalid(
                f"{self.where}: its keyid {signature.keyid[:16]!r} is not of the key of "
                f"certificate {identity(leaf)!r}"
            )
        at = self._signed_at(signature)
        require_usable(chain, at=at)
        if not self.policy.roots:
            raise UntrustedSigner(
                f"{self.where}: signed by certificate {identity(leaf)!r}: expected a trusted "
                "root, none is given"
            )
        self._require_root(chain, at)
        return identity(leaf)

    def _identified(self, signature: Signature) -> str:
        """The identity of a keyless signature, which the policy trusts and Sigstore proves."""
        leaf = self.bundle.certificates[0]
        who = identity_of(leaf)
        trusted = [one for one in self.policy.identities if who and one.matches(*who.names)]
        if who is None or not trusted:
            known = ", ".join(map(str, self.policy.identities)) or "none"
            raise UntrustedSigner(
                f"{self.where}: signed by {who or 'a certificate without identity'}: expected one "
                f"of the trusted identities ({known}); trust that identity (--identity, "
                "--identity-issuer), or get a signature from a trusted one"
            )
        if self.policy.identity_revoked([who.subject], who.issuer):
            raise Revoked(f"{self.where}: {who} is revoked; sign again with another identity")
        self._require_not_revoked(f"certificate of {who}", *fingerprints(leaf))
        refused: list[VerificationError] = []
        for one in trusted:
            try:
                at = proven_time(
                    self.bundle,
                    signature,
                    who=who,
                    root=one.root(self.policy.trusted_root),
                    where=self.where,
                )
                self._require_scope([one.scope], str(who), at)
            except (PolicyError, SignatureInvalid) as error:
                refused.append(error)
            else:
                return str(who)
        raise max(refused, key=_telling)

    def _require_root(self, chain: tuple[x509.Certificate, ...], at: datetime) -> None:
        """Demand one root that the chain leads to and whose own scope allows it."""
        strangers: list[PolicyError] = []
        refused: list[PolicyError] = []
        for root in self.policy.roots:
            try:
                path = path_to(root.certificate, chain, at=at)
            except PolicyError as error:
                strangers.append(error)
                continue
            try:
                self._require_path(root, path, at)
            except PolicyError as error:
                refused.append(error)
            else:
                return
        raise max(refused or strangers, key=_telling)

    def _require_path(
        self, root: TrustedRoot, path: tuple[x509.Certificate, ...], at: datetime
    ) -> None:
        for certificate in path:
            who = f"certificate {identity(certificate)!r}"
            self._require_not_revoked(who, *fingerprints(certificate))
        if self.policy.identity_revoked(subjects(path[0])):
            raise Revoked(
                f"{self.where}: {identity(path[0])!r} is revoked; sign again with another"
            )
        if not root.vouches_for(subjects(path[0])):
            raise UntrustedSigner(
                f"{self.where}: certificate {identity(path[0])!r}: expected a subject among "
                f"{', '.join(root.subjects)} under root {identity(root.certificate)!r}; get a "
                "signature from one of those"
            )
        self._require_scope([root.scope], f"root {identity(root.certificate)!r}", at)

    def _signed_at(self, signature: Signature) -> datetime:
        """Time of signing by a trusted authority; else the time of verification."""
        stamped = stamped_time(
            signature.value,
            self.bundle.timestamps,
            self.policy.timestamp_roots,
            at=self.at,
            revoked=self.policy.key_revoked,
        )
        return stamped or self.at

    def _require_not_revoked(self, who: str, *marks: str) -> None:
        if any(map(self.policy.key_revoked, marks)):
            raise Revoked(f"{self.where}: {who} is revoked; sign again with another")

    def _require_scope(self, scopes: list[Scope], who: str, at: datetime) -> None:
        allowed = [scope for scope in scopes if scope.allows(self.model)]
        if not allowed:
            patterns = ", ".join(sorted({name for scope in scopes for name in scope.models}))
            raise UntrustedSigner(
                f"{self.where}: {who} may sign {patterns}, not {self.model!r}; "
                "get a signature from a key that may"
            )
        if not any(scope.covers(at) for scope in allowed):
            raise Expired(
                f"{self.where}: {who} is trusted from {allowed[0].not_before or 'ever'} to "
                f"{allowed[0].not_after or 'ever'}, not at {at:%Y-%m-%d %H:%M} UTC; sign again "
                "with a current key"
            )


def _short(name: str) -> str:
    """A fingerprint's begin, or a subject or identity as it is."""
    return name[:16] if name.isalnum() else name


def _telling(error: VerificationError) -> int:
    """Rank of a refusal: the one of the furthest check is shown."""
    return next((rank for rank, kind in enumerate(_RANKED) if isinstance(error, kind)), 0)
