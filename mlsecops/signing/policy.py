"""Whom to trust with what: keys, roots, how many of them, for how long, and what is revoked."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryptography import x509

from mlsecops.errors import Revoked, UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.manifest import Manifest
from mlsecops.signing.keys import PublicKey, load_certificates

Source: TypeAlias = str | bytes | os.PathLike[str]
_TOP: Final = {"keys", "roots", "threshold", "revoked"}
_ITEM: Final = {"path", "pem", "models", "not_before", "not_after"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a trusted key or root may vouch for, and when.

    Attributes:
        models: Shell patterns of model names; empty means any.
        not_before: Signatures are accepted from then on, or None.
        not_after: Signatures are accepted until then, or None.
    """

    models: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None

    def allows(self, model: str) -> bool:
        """Whether a model of this name may be vouched for."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def covers(self, moment: datetime) -> bool:
        """Whether a moment lies in the window."""
        begun = self.not_before is None or self.not_before <= moment
        return begun and (self.not_after is None or moment <= self.not_after)


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key with what it may vouch for."""

    key: PublicKey
    scope: Scope = Scope()


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A certificate authority with what its leaves may vouch for."""

    certificate: x509.Certificate
    scope: Scope = Scope()


class TrustPolicy:
    """Who may sign what; immutable. With neither keys nor roots it trusts nobody.

    Args:
        keys: Trusted keys; each a PublicKey, a TrustedKey, PEM text or bytes, or a path.
        roots: Trusted certificate authorities; each PEM text or bytes, a path, or a TrustedRoot.
        threshold: How many different trusted signers a model needs, at least 1.
        revoked: ``"sha256:<hex>"`` digests of models or files, and key fingerprints.

    Raises:
        UsageError: A key cannot be read, or the threshold can never be met.
    """

    __slots__ = ("keys", "revoked", "roots", "threshold")

    keys: Final[tuple[TrustedKey, ...]]
    roots: Final[tuple[TrustedRoot, ...]]
    threshold: Final[int]
    revoked: Final[frozenset[str]]

    def __init__(
        self,
        *,
        keys: Iterable[PublicKey | TrustedKey | Source] = (),
        roots: Iterable[TrustedRoot | Source] = (),
        threshold: int = 1,
        revoked: Iterable[str] = (),
    ) -> None:
        self.keys = tuple(_key(key) for key in keys)
        self.roots = tuple(root for source in roots for root in _roots(source))
        self.threshold = threshold
        self.revoked = frozenset(_revocation(text) for text in revoked)
        if threshold < 1 or (not self.roots and threshold > max(1, len(self.keys))):
            raise UsageError(
                f"threshold {threshold}: expected 1 to {max(1, len(self.keys))}, "
                "the number of trusted keys"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrustPolicy:
        """Read a policy from TOML; key paths are relative to the file's folder.

        Raises:
            UsageError: It cannot be read, or says something that is not understood.
        """
        place = Path(path)
        try:
            value = tomllib.loads(place.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read {place}: {error.strerror}") from error
        except ValueError as error:
            raise UsageError(f"{place} is not valid TOML: {error}") from error
        _require_known(value, _TOP, str(place))
        threshold, revoked = value.get("threshold", 1), value.get("revoked", [])
        if not isinstance(threshold, int) or not isinstance(revoked, list):
            raise UsageError(f"{place}: expected threshold to be a number and revoked a list")
        return cls(
            keys=[
                TrustedKey(PublicKey.load(_material(item, place)), _scope(item, place))
                for item in _items(value, "keys", place)
            ],
            roots=[
                TrustedRoot(certificate, _scope(item, place))
                for item in _items(value, "roots", place)
                for certificate in load_certificates(_material(item, place))
            ],
            threshold=threshold,
            revoked=revoked,
        )

    def key_revoked(self, fingerprint: str) -> bool:
        """Whether a key's fingerprint is revoked."""
        return fingerprint in self.revoked

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


def _revocation(text: str) -> str:
    """Bare hexadecimal value, by which digests and fingerprints are compared."""
    value = text.rpartition(":")[2].lower() if isinstance(text, str) else ""
    if not value or any(character not in "0123456789abcdef" for character in value):
        raise UsageError(
            f"revoked {text!r}: expected 'sha256:<hex>' of a model or file, or a key fingerprint"
        )
    return value


def _items(value: Mapping[str, Any], key: str, place: Path) -> list[dict[str, Any]]:
    items = value.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UsageError(f"{place}: expected [[{key}]] tables")
    for item in items:
        _require_known(item, _ITEM, f"{place}: [[{key}]]")
    return items


def _require_known(value: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(value.keys() - known)
    if unknown:
        raise UsageError(f"{where}: unknown {unknown[0]!r}; expected {', '.join(sorted(known))}")


def _material(item: Mapping[str, Any], place: Path) -> str | Path:
    if ("path" in item) == ("pem" in item):
        raise UsageError(f"{place}: expected each key or root to have either path or pem")
    return str(item["pem"]) if "pem" in item else place.parent / str(item["path"])


def _scope(item: Mapping[str, Any], place: Path) -> Scope:
    models = item.get("models", [])
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        raise UsageError(f"{place}: expected models to be a list of patterns")
    return Scope(
        models=tuple(models),
        not_before=_moment(item.get("not_before"), place),
        not_after=_moment(item.get("not_after"), place),
    )


def _moment(value: object, place: Path) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise UsageError(f"{place}: {value!r} is not a time: {error}") from error
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None:
        raise UsageError(f"{place}: expected a date or time, got {value!r}")
    return None
