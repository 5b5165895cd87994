"""Scope of a trusted key or authority: model name patterns and a validity window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from types import NoneType

from cryptography import x509

from mlsecops._choices import of_type, several
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.signing.keys import PublicKey


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Models that a trusted key or root may sign, and when.

    Attributes:
        models: Shell patterns of model names; empty means any.
        not_before: Start of the window, timezone-aware, or None.
        not_after: End of the window, timezone-aware, or None.

    Raises:
        UsageError: `models` is one text, or a time has no timezone.

    Examples:
        >>> Scope(models=["fraud-*"]).allows("fraud-2")
        True
    """

    models: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", several("models", self.models, "patterns", str))
        for name in ("not_before", "not_after"):
            moment = of_type(name, getattr(self, name), (datetime, NoneType), "a datetime")
            if moment is not None and moment.tzinfo is None:
                raise UsageError(f"{name}: expected a time with a timezone, got {moment}")

    def allows(self, model: str) -> bool:
        """Whether a model of this name may be signed."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def covers(self, moment: datetime) -> bool:
        """Whether a moment is inside the window."""
        begun = self.not_before is None or self.not_before <= moment
        return begun and (self.not_after is None or moment <= self.not_after)


@concise_repr("key.fingerprint", "scope")
@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and its scope."""

    key: PublicKey
    scope: Scope = Scope()

    def __post_init__(self) -> None:
        of_type("key", self.key, PublicKey, "a PublicKey")
        of_type("scope", self.scope, Scope, "a Scope")


@concise_repr()
@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A certificate authority, the scope of its leaves, and which of them may sign.

    Attributes:
        certificate: The authority's certificate.
        scope: Models that its leaves may sign, and when.
        subjects: Shell patterns, one of which must match the leaf's subject (RFC 4514), its common
            name, or a DNS name, mail address or URI among its alternative names; empty means any
            leaf that may sign code.

    Raises:
        UsageError: `subjects` is one text, or a value has another type.
    """

    certificate: x509.Certificate
    scope: Scope = Scope()
    subjects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        of_type("certificate", self.certificate, x509.Certificate, "an x509.Certificate")
        of_type("scope", self.scope, Scope, "a Scope")
        object.__setattr__(self, "subjects", several("subjects", self.subjects, "patterns", str))

    def vouches_for(self, names: Iterable[str]) -> bool:
        """Whether a leaf with these names may sign."""
        return not self.subjects or any(
            fnmatchcase(name, pattern) for name in names for pattern in self.subjects
        )


def matches_pattern(text: str, pattern: str) -> bool:
    """Whether a text is a pattern's, in which `*` stands for any run of characters.

    Linear in text and pattern for each star: the first place of every part is the best one.

    Examples:
        >>> matches_pattern("refs/tags/v1", "refs/*/v?"), matches_pattern("a.b", "a*b")
        (False, True)
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
