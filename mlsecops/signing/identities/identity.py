"""Trusted identity: a person or workflow as an OpenID Connect issuer names them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from mlsecops._choices import of_type
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.signing.identities.trusted_root import TrustedRootSource, read_trusted_root
from mlsecops.signing.scope import Scope, matches_pattern

_ANY: Final = Scope()
_MOST: Final = 2048  # characters of a subject or issuer; chosen: longer ones are no name


@concise_repr("subject", "issuer", "scope")
@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Signer that an OpenID Connect issuer vouches for, as a Sigstore certificate names them.

    Attributes:
        subject: E-mail address, workflow URI or user name. `*` stands for any run of characters,
            such as the tag in `"https://github.com/corp/fraud/.github/workflows/r.yml@refs/tags/*"`.
        issuer: Exact URL of the issuer.
        scope: Models that it may sign, and when; the time is the one that the log attests.
        trusted_root: Trusted root of the Sigstore instance that certifies it: a path, or JSON text
            or bytes. By default that of the policy.

    Raises:
        UsageError: The subject or issuer is no text or names everybody, or the trusted root cannot
            be read.

    Examples:
        >>> release = Identity(subject="*@corp.example", issuer="https://login.corp.example")
        >>> release.matches("anna@corp.example", "https://login.corp.example")
        True
    """

    subject: str
    issuer: str
    scope: Scope = _ANY
    trusted_root: TrustedRootSource | None = None

    def __post_init__(self) -> None:
        of_type("scope", self.scope, Scope, "a Scope")
        for name in ("subject", "issuer"):
            _name(name, getattr(self, name))
        if not self.subject.strip("*"):
            raise UsageError(
                f"subject: expected a name or a pattern, got {self.subject!r}, which trusts "
                "everybody whom the issuer knows; name the e-mail address or workflow"
            )
        if self.trusted_root is not None:
            object.__setattr__(self, "trusted_root", read_trusted_root(self.trusted_root))

    def root(self, default: bytes | None) -> bytes | None:
        """JSON of its own trusted root, else the default."""
        own = self.trusted_root
        return own if isinstance(own, bytes) else default

    def matches(self, subject: str, issuer: str) -> bool:
        """Whether it is the identity that an issuer calls by this subject."""
        return issuer == self.issuer and matches_pattern(subject, self.subject)

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


def _name(argument: str, value: object) -> None:
    if isinstance(value, os.PathLike) or not isinstance(value, str):
        of_type(argument, value, str, "text")
    elif not value or len(value) > _MOST or not value.isprintable():
        raise UsageError(f"{argument}: expected printable text, got {value[:60]!r}")
