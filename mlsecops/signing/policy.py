"""Whom to trust with what: keys, roots, how many of them, for how long, and what is revoked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509

from mlsecops.errors import PolicyError, Revoked, RollbackRefused, UsageError
from mlsecops.provenance.digest import SIZES, Digest
from mlsecops.provenance.manifest import Manifest
from mlsecops.signing.keys import PublicKey, load_certificates
from mlsecops.signing.policy_file import read_policy
from mlsecops.signing.scope import TrustedKey, TrustedRoot

Source: TypeAlias = str | bytes | os.PathLike[str]
_HEX_LENGTHS: Final = {64, 96, 128}


class TrustPolicy:
    """Who may sign what; immutable. With neither keys nor roots it trusts nobody.

    Args:
        keys: Trusted keys; each a PublicKey, a TrustedKey, PEM text or bytes, or a path. A key that
            is being replaced stays, with `Scope(not_after=…)`, beside its successor.
        roots: Trusted certificate authorities; each PEM text or bytes, a path, or a TrustedRoot.
        threshold: How many different trusted signers a model needs, at least 1.
        revoked: `"sha256:<hex>"` digests of models or files, and fingerprints of keys or
            certificates (SHA-256 of the DER, with or without colons).
        timestamp_roots: Roots of time stamp authorities whose word on the time of signing counts:
            a certificate or key that was valid then may have expired since.
        floor: Oldest version that is accepted, or a table of model name pattern → oldest version.
        algorithms: Digest algorithms that a signature may use; all by default. The same bytes have
            another digest under another algorithm, so a policy that revokes by digest should
            accept only the algorithms that its digests are of.

    Raises:
        UsageError: A key cannot be read, or the threshold can never be met.
    """

    __slots__ = ("algorithms", "floors", "keys", "revoked", "roots", "threshold", "timestamp_roots")

    keys: Final[tuple[TrustedKey, ...]]
    roots: Final[tuple[TrustedRoot, ...]]
    threshold: Final[int]
    revoked: Final[frozenset[str]]
    timestamp_roots: Final[tuple[x509.Certificate, ...]]
    floors: Final[tuple[tuple[str, int], ...]]
    algorithms: Final[tuple[str, ...]]

    def __init__(
        self,
        *,
        keys: Iterable[PublicKey | TrustedKey | Source] = (),
        roots: Iterable[TrustedRoot | Source] = (),
        threshold: int = 1,
        revoked: Iterable[str] = (),
        timestamp_roots: Iterable[x509.Certificate | Source] = (),
        floor: int | Mapping[str, int] = 0,
        algorithms: Iterable[str] = tuple(SIZES),
    ) -> None:
        self.keys = tuple(_key(key) for key in keys)
        self.roots = tuple(root for source in roots for root in _roots(source))
        self.threshold = threshold
        self.revoked = frozenset(_revocation(text) for text in revoked)
        self.timestamp_roots = tuple(
            certificate for source in timestamp_roots for certificate in _certificates(source)
        )
        self.floors = _floors(floor)
        self.algorithms = _algorithms(algorithms)
        distinct = len({trusted.key.fingerprint for trusted in self.keys})
        if threshold < 1 or (not self.roots and threshold > max(1, distinct)):
            raise UsageError(
                f"threshold {threshold}: expected 1 to {max(1, distinct)}, "
                "the number of different trusted keys"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrustPolicy:
        """Read a policy from TOML; key paths are relative to the file's folder.

        Raises:
            UsageError: It cannot be read, or says something that is not understood.
        """
        return cls(**read_policy(Path(path)))

    def key_revoked(self, fingerprint: str) -> bool:
        """Whether the fingerprint of a key or certificate is revoked."""
        return fingerprint in self.revoked

    def require_floor(self, model: str, version: int | None, *, where: str) -> None:
        """Demand that a model is not older than the floor of its name.

        Args:
            model: Name of the model in its signature.
            version: Version in its signature, or None when it has none.
            where: Place of the bundle, for messages.

        Raises:
            RollbackRefused: It is older, or does not say.
        """
        floor = max((least for name, least in self.floors if fnmatchcase(model, name)), default=0)
        if floor > 0 and (version is None or version < floor):
            got = "one without a version" if version is None else f"version {version}"
            raise RollbackRefused(
                f"{where}: expected version {floor} or newer of {model!r}, got {got}; "
                "use a newer release, or lower the policy's floor"
            )

    def require_algorithm(self, algorithm: str, *, where: str) -> None:
        """Demand that files were hashed with an algorithm that is accepted.

        Args:
            algorithm: That of the signature's digests.
            where: Place of the bundle, for messages.

        Raises:
            PolicyError: It is not.
        """
        if algorithm not in self.algorithms:
            raise PolicyError(
                f"{where}: expected digests of {' or '.join(self.algorithms)}, got {algorithm}; "
                "sign the model again with an accepted algorithm"
            )

    def require_not_revoked(self, digest: Digest | Manifest) -> None:
        """Demand that neither a digest, nor any digest of a manifest, is revoked.

        Raises:
            Revoked: It is.
        """
        if isinstance(digest, Manifest):
            self.require_not_revoked(digest.root)
            for entry in digest.entries:
                self.require_not_revoked(entry.digest)
        elif digest.hex in self.revoked:
            raise Revoked(f"{digest} is revoked by the trust policy; use another version")


def _key(source: PublicKey | TrustedKey | Source) -> TrustedKey:
    return source if isinstance(source, TrustedKey) else TrustedKey(PublicKey.load(source))


def _roots(source: TrustedRoot | Source) -> tuple[TrustedRoot, ...]:
    if isinstance(source, TrustedRoot):
        return (source,)
    return tuple(TrustedRoot(certificate) for certificate in load_certificates(source))


def _certificates(source: x509.Certificate | Source) -> tuple[x509.Certificate, ...]:
    return (source,) if isinstance(source, x509.Certificate) else load_certificates(source)


def _algorithms(names: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    if not chosen or not set(chosen) <= SIZES.keys():
        raise UsageError(f"algorithms {chosen}: expected some of {', '.join(SIZES)}")
    return chosen


def _floors(floor: int | Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    table = floor if isinstance(floor, Mapping) else {"*": floor}
    for name, least in table.items():
        if isinstance(least, bool) or not isinstance(least, int) or least < 0:
            raise UsageError(f"floor of {name!r}: expected a version from 0 on, got {least!r}")
    return tuple(table.items())


def _revocation(text: str) -> str:
    """Bare hexadecimal value, by which digests and fingerprints are compared."""
    name, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    value = (rest if colon and name in SIZES else f"{name}{rest}").replace(":", "").lower()
    # A shortened value would silently revoke nothing.
    if len(value) not in _HEX_LENGTHS or any(mark not in "0123456789abcdef" for mark in value):
        raise UsageError(
            f"revoked {text!r}: expected 'sha256:<hex>' of a model or file, or a key fingerprint"
        )
    return value
