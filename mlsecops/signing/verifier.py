"""Verifier: a bundle checked under a trust policy, then the bytes against the signed manifest.

bundle bytes, policy → SignedModel, no file read → + Manifest of the files → Verified

Nothing else makes a Verified.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import DigestMismatch, UsageError
from mlsecops.provenance.manifest import Manifest
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.legacy import is_legacy, read_legacy_payload
from mlsecops.signing.naming import ExpectedName
from mlsecops.signing.oms import ModelClaim, read_payload
from mlsecops.signing.policy import TrustPolicy
from mlsecops.signing.requirements.evidence import require_claims
from mlsecops.signing.shards import file_of
from mlsecops.signing.signers import SignerCheck
from mlsecops.signing.verified import SignedModel, Verified, prove


@concise_repr("_policy", "_at")
@checked
class Verifier:
    """Applies one trust policy.

    Args:
        policy: Trust policy.
        at: Time of verification, timezone-aware; now by default.
        legacy: Whether to accept bundles of the first release of the format (v0.2.0).
    """

    def __init__(
        self, policy: TrustPolicy, *, at: datetime | None = None, legacy: bool = False
    ) -> None:
        if at is not None and at.tzinfo is None:
            raise UsageError("at: expected a time with a timezone, such as datetime(…, tzinfo=UTC)")
        self._policy = policy
        self._at = at
        self._legacy = legacy

    def open(self, data: bytes, *, where: str, expected: ExpectedName | None = None) -> SignedModel:
        """Check a bundle's signatures against the policy; no file is read.

        Args:
            data: The bundle's bytes.
            where: Path of the bundle, for messages.
            expected: Name that the model should be signed by, from `expected_name`; without it
                the caller compares the name, or pins the digest.

        Raises:
            MalformedBundle: The bytes are no bundle.
            SignatureInvalid: A trusted key's signature does not match.
            PolicyError: Its signers, their number, time, version, digests or claims are not
                accepted.
        """
        bundle = Bundle.from_bytes(data, where=where)
        claim = self._claim(bundle.envelope.payload, where)
        signers = SignerCheck(
            policy=self._policy,
            bundle=bundle,
            model=claim.manifest.name,
            at=self._at or datetime.now(UTC),
            where=where,
            legacy=self._legacy,
        ).require()
        return self.admit(claim, signers, where=where, expected=expected)

    def admit(
        self,
        claim: ModelClaim,
        signers: tuple[str, ...],
        *,
        where: str,
        expected: ExpectedName | None = None,
    ) -> SignedModel:
        """Check a claim of trusted signers against its name, revocations and floors.

        Args:
            claim: The claim.
            signers: Its signers, already checked.
            where: Path of the bundle, for messages.
            expected: As for `open`.

        Raises:
            PolicyError: It has another name, a digest is revoked or of an algorithm that is not
                accepted, the version is below its floor, or a required claim is missing.
        """
        self._policy.require_name(claim.manifest.name, expected, where=where)
        self._policy.require_algorithm(claim.manifest.algorithm, where=where)
        self._policy.require_not_revoked(claim.subject)
        self._policy.require_not_revoked(claim.manifest)
        self._policy.require_floor(claim.manifest.name, claim.version, where=where)
        require_claims(self._policy.require, claim, where=where)
        return SignedModel(
            manifest=claim.manifest,
            statements=claim.statements,
            signers=signers,
            version=claim.version,
        )

    def match(
        self,
        signed: SignedModel,
        actual: Manifest,
        *,
        where: str,
        ignored: Iterable[str] = (),
        compared: Iterable[str] | None = None,
    ) -> Verified:
        """Demand that the files are the signed ones.

        Args:
            signed: Claim of trusted signers.
            actual: Manifest of the bytes that will be used.
            where: Path of the artifact, for messages.
            ignored: Files that are present and not covered by the signature.
            compared: Names of the parts that were read, where `actual` has the signed digests of
                the others; None where all were.

        Raises:
            DigestMismatch: Something was added, removed or changed.
        """
        expected = signed.manifest
        if expected.shard_size != actual.shard_size:
            raise DigestMismatch(
                f"{where}: signed in shards of {expected.shard_size} bytes, but hashed in shards "
                f"of {actual.shard_size}: nothing can be compared; verify the path instead, or "
                "sign whole files to load them"
            )
        if actual.single and is_single(expected):
            actual = actual.renamed(expected.name)
        expected.require(actual, where=where)
        read = None if compared is None else tuple(sorted(compared))
        return prove(signed, ignored=tuple(ignored), compared=read)

    def _claim(self, payload: bytes, where: str) -> ModelClaim:
        if self._legacy and is_legacy(payload, where=where):
            return read_legacy_payload(payload, where=where)
        return read_payload(payload, where=where)


def is_single(manifest: Manifest) -> bool:
    """Whether a signed manifest may be of a single file: named `"."`, or as the model is."""
    return manifest.single or {file_of(entry.name, manifest) for entry in manifest} == {
        manifest.name
    }
