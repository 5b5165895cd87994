"""What a trusted key or authority may vouch for, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from cryptography import x509

from mlsecops.signing.keys import PublicKey


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
