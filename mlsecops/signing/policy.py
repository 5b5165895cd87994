"""Trust policy: trusted signers, their number, revocations, floors, algorithms, required claims."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from cryptography import x509

from mlsecops._choices import of_type, path_of, several, some_of, whole
from mlsecops._repr import concise_repr
from mlsecops.errors import PolicyError, Revoked, RollbackRefused, UntrustedSigner, UsageError
from mlsecops.provenance.digest import SIZES, Digest
from mlsecops.provenance.manifest import Manifest
from mlsecops.signing.identities.identity import Identity
from mlsecops.signing.identities.trusted_root import TrustedRootSource, read_trusted_root
from mlsecops.signing.keys import PublicKey, load_certificates
from mlsecops.signing.naming import ExpectedName
from mlsecops.signing.policy_file import read_policy
from mlsecops.signing.requirements.requirement import Requirement
from mlsecops.signing.scope import TrustedKey, TrustedRoot, matches_pattern

Source: TypeAlias = str | bytes | os.PathLike[str]
_SOURCES: Final = (str, bytes, os.PathLike)
_KEYS: Final = (PublicKey, TrustedKey, *_SOURCES)
_ROOTS: Final = (x509.Certificate, *_SOURCES)
_HEX_LENGTHS: Final = {64, 96, 128}  # hexadecimal digits of SHA-256, SHA-384 and SHA-512


@concise_repr(
    "keys", "roots", "identities", "threshold", "revoked", "floors", "algorithms", "require"
)
class TrustPolicy:
    """Rules about who may sign what; immutable. It trusts nobody but those that it names.

    Args:
        keys: Trusted keys: each a PublicKey, a TrustedKey, PEM text or bytes, or a path. A key that
            is being replaced stays in the list with `Scope(not_after=…)`.
        roots: Trusted certificate authorities: each PEM text or bytes, a path, or a TrustedRoot.
        identities: Trusted identities, whose Sigstore (keyless) signatures count. Their proof is
            checked without network.
        trusted_root: Trusted root of the Sigstore instance that certifies the identities: a path,
            or JSON text or bytes. By default that of the public instance, as the `sigstore` extra
            ships it; an Identity may name its own.
        threshold: Number of different trusted signers that a model needs, at least 1.
        revoked: `"sha256:<hex>"` digests of models or files, fingerprints of keys or certificates
            (SHA-256 of the DER, with or without colons), each an Identity, or its subject (or a
            pattern) alone, which has a `@` or `://`: signatures of that name do not count.
        timestamp_roots: Roots of time stamp authorities. Their time stamps prove when a signature
            was made, so that a certificate or key may have expired since.
        floor: Oldest version that is accepted, or a mapping of model name pattern → oldest version.
        algorithms: Digest algorithms that a signature may use; all by default. The same bytes have
            another digest under another algorithm, so a policy that revokes by digest should
            accept only the algorithms of those digests.
        require: Claims about the model that statements in the signed bundle must make.
        code: `"sha256:<hex>"` digests of program files that a model may bring along and run, such
            as the `.py` files of `trust_remote_code`; none by default.

    Raises:
        UsageError: One value is given where a list is expected, a key cannot be read, or the
            threshold can never be met.

    Examples:
        >>> from mlsecops.signing import Signer
        >>> TrustPolicy(keys=[Signer.generate().public_key]).threshold
        1
    """

    __slots__ = (
        "algorithms", "code", "floors", "identities", "keys", "require", "revoked",
        "revoked_identities", "roots", "threshold", "timestamp_roots", "trusted_root",
    )  # fmt: skip

    keys: Final[tuple[TrustedKey, ...]]
    roots: Final[tuple[TrustedRoot, ...]]
    identities: Final[tuple[Identity, ...]]
    trusted_root: Final[bytes | None]
    threshold: Final[int]
    revoked: Final[frozenset[str]]
    revoked_identities: Final[tuple[Identity | str, ...]]
    require: Final[Requirement]
    timestamp_roots: Final[tuple[x509.Certificate, ...]]
    floors: Final[tuple[tuple[str, int], ...]]
    algorithms: Final[tuple[str, ...]]
    code: Final[frozenset[str]]

    def __init__(
        self,
        *,
        keys: Iterable[PublicKey | TrustedKey | Source] = (),
        roots: Iterable[TrustedRoot | Source] = (),
        identities: Iterable[Identity] = (),
        trusted_root: TrustedRootSource | None = None,
        threshold: int = 1,
        revoked: Iterable[str | Identity] = (),
        timestamp_roots: Iterable[x509.Certificate | Source] = (),
        floor: int | Mapping[str, int] = 0,
        algorithms: Iterable[str] = tuple(SIZES),
        require: Requirement | None = None,
        code: Iterable[str] = (),
    ) -> None:
        self.keys = tuple(
            source if isinstance(source, TrustedKey) else TrustedKey(PublicKey.load(source))
            for source in several("keys", keys, "public keys, PEM texts or paths", _KEYS)
        )
        self.roots = tuple(
            root
            for source in several("roots", roots, "PEM texts or paths", (TrustedRoot, *_SOURCES))
            for root in _roots(source)
        )
        self.identities = several("identities", identities, "identities", Identity)
        self.trusted_root = None if trusted_root is None else read_trusted_root(trusted_root)
        self.threshold = whole("threshold", threshold, "a number of signers from 1 on")
        listed = several("revoked", revoked, "digests, fingerprints or identities")
        self.revoked_identities = tuple(each for each in listed if _is_identity(each))
        self.revoked = frozenset(_revocation(each) for each in listed if not _is_identity(each))
        self.timestamp_roots = tuple(
            certificate
            for source in several("timestamp_roots", timestamp_roots, "PEM texts or paths", _ROOTS)
            for certificate in _certificates(source)
        )
        self.floors = _floors(floor)
        self.algorithms = tuple(dict.fromkeys(some_of("algorithms", algorithms, SIZES)))
        if not self.algorithms:
            raise UsageError(f"algorithms: expected some of {', '.join(SIZES)}, got none")
        self.code = frozenset(_program(text) for text in several("code", code, "digests", str))
        none = Requirement()
        self.require = of_type("require", none if require is None else require, Requirement,
                               "a Requirement")  # fmt: skip
        self._require_reachable()

    def _require_reachable(self) -> None:
        """Demand that so many signers can be there: a bundle holds one certificate at most."""
        distinct = len({trusted.key.fingerprint for trusted in self.keys})
        most = max(1, distinct + bool(self.identities))
        if not self.roots and self.threshold > most:
            raise UsageError(
                f"threshold: expected 1 to {most}, the number of different trusted keys"
                f"{' and one identity' if self.identities else ''}, got {self.threshold}"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrustPolicy:
        """Read a policy from TOML; key paths are relative to the file's folder.

        Raises:
            UsageError: The file cannot be read, or a key or value in it is not valid.
        """
        return cls(**read_policy(path_of("path", path)))

    def key_revoked(self, fingerprint: str) -> bool:
        """Whether the fingerprint of a key or certificate is revoked."""
        return fingerprint in self.revoked

    def identity_revoked(self, subjects: Iterable[str], issuer: str | None = None) -> bool:
        """Whether one of a certificate's names is revoked, alone or with its issuer."""
        return any(
            matches_pattern(name, each)
            if isinstance(each, str)
            else issuer is not None and each.matches(name, issuer)
            for name in subjects
            for each in self.revoked_identities
        )

    @property
    def restricts_names(self) -> bool:
        """Whether keys, roots, identities or version floors are bound to some model names."""
        scopes = [
            *(key.scope for key in self.keys),
            *(root.scope for root in self.roots),
            *(identity.scope for identity in self.identities),
        ]
        floors = any(least > 0 and pattern != "*" for pattern, least in self.floors)
        return floors or any(scope.models and "*" not in scope.models for scope in scopes)

    def require_name(self, model: str, expected: ExpectedName | None, *, where: str) -> None:
        """Refuse a model that is signed under another name than the expected one.

        Args:
            model: Name of the model in its signature.
            expected: The expected name, or None where the caller pins the model's digest.
            where: Path of the bundle, for messages.

        Raises:
            UntrustedSigner: It has another name, and the caller demands one or the policy
                restricts keys or floors by model name.
        """
        if expected is None or model == expected.name:
            return
        if expected.demanded or self.restricts_names:
            raise UntrustedSigner(
                f"{where}: expected the model {expected.name!r}, got one signed as {model!r}; get "
                "the model of that name, or name the one you mean (name=, --name, or its digest)"
            )

    def require_floor(self, model: str, version: int | None, *, where: str) -> None:
        """Refuse a model that is older than the floor of its name.

        Args:
            model: Name of the model in its signature.
            version: Version in its signature, or None when it has none.
            where: Path of the bundle, for messages.

        Raises:
            RollbackRefused: It is older, or its signature has no version.
        """
        floor = max((least for name, least in self.floors if fnmatchcase(model, name)), default=0)
        if floor > 0 and (version is None or version < floor):
            got = "one without a version" if version is None else f"version {version}"
            raise RollbackRefused(
                f"{where}: expected version {floor} or newer of {model!r}, got {got}; "
                "use a newer release, or lower the policy's floor"
            )

    def require_algorithm(self, algorithm: str, *, where: str) -> None:
        """Refuse a signature whose digest algorithm is not accepted.

        Args:
            algorithm: Algorithm of the signature's digests.
            where: Path of the bundle, for messages.

        Raises:
            PolicyError: It is not accepted.
        """
        if algorithm not in self.algorithms:
            raise PolicyError(
                f"{where}: expected digests of {' or '.join(self.algorithms)}, got {algorithm}; "
                "sign the model again with an accepted algorithm"
            )

    def require_not_revoked(self, digest: Digest | Manifest) -> None:
        """Refuse a revoked digest, or a manifest with one.

        Raises:
            Revoked: It is revoked.
        """
        if isinstance(digest, Manifest):
            self.require_not_revoked(digest.root)
            for entry in digest.entries:
                self.require_not_revoked(entry.digest)
        elif digest.hex in self.revoked:
            raise Revoked(f"{digest} is revoked by the trust policy; use another version")


def _roots(source: TrustedRoot | Source) -> tuple[TrustedRoot, ...]:
    if isinstance(source, TrustedRoot):
        return (source,)
    return tuple(TrustedRoot(certificate) for certificate in load_certificates(source))


def _certificates(source: x509.Certificate | Source) -> tuple[x509.Certificate, ...]:
    return (source,) if isinstance(source, x509.Certificate) else load_certificates(source)


def _floors(floor: int | Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    table = floor if isinstance(floor, Mapping) else {"*": floor}
    for name, least in table.items():
        of_type("floor", name, str, "patterns of model names as keys")
        if isinstance(least, bool) or not isinstance(least, int) or least < 0:
            raise UsageError(f"floor of {name!r}: expected a version from 0 on, got {least!r}")
    return tuple(table.items())


def _is_identity(value: object) -> bool:
    # Neither mark stands in a digest, shortened or not.
    return isinstance(value, Identity) or (
        isinstance(value, str) and ("@" in value or "://" in value)
    )


def _revocation(text: Any) -> str:
    """Hexadecimal value without prefix and colons, for comparison."""
    name, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    value = (rest if colon and name in SIZES else f"{name}{rest}").replace(":", "").lower()
    # A shortened value would silently revoke nothing.
    if len(value) not in _HEX_LENGTHS or any(mark not in "0123456789abcdef" for mark in value):
        raise UsageError(
            f"revoked {text!r}: expected 'sha256:<hex>' of a model or file, a key fingerprint, or "
            "an identity"
        )
    return value


def _program(text: str) -> str:
    """Digest of a program file, as its text."""
    if Digest.parse(text).algorithm != "sha256":
        raise UsageError(f"code {text[:80]!r}: expected 'sha256:<hex>' of a program file")
    return text
