"""Which errors the library raises, and who is at fault for each.

Everything the library raises on purpose is one of these::

    MLSecOpsError
    ├── UsageError (ValueError)        the caller: a wrong argument, an unknown option
    ├── MissingExtra (ImportError)     the installation: an optional package is absent
    ├── VerificationError              the artifact: it is not what was vouched for
    │   ├── SignatureError
    │   │   ├── SignatureMissing       no bundle where one is needed
    │   │   ├── SignatureInvalid       a signature does not match the bytes
    │   │   └── MalformedBundle        the bundle cannot be read as one
    │   ├── DigestMismatch             bytes changed: .added .removed .changed
    │   └── PolicyError                validly signed, but not good enough here
    │       ├── UntrustedSigner        (a SignatureError as well)
    │       ├── ThresholdNotMet
    │       ├── Expired
    │       ├── Revoked
    │       ├── Isolated               an incident isolated the digest
    │       └── RollbackRefused        older than the floor allows
    ├── ContentRefused                 the artifact: what it holds is not allowed
    │   ├── UnsafeContent              .rule .where
    │   ├── FormatRefused
    │   ├── LimitExceeded
    │   ├── ChangedDuringLoad
    │   └── FrameworkTooOld
    ├── GateFailed                     the model: measured below the floor
    │   └── GateInconclusive           the measurement does not settle it
    ├── CallRefused                    the client: a guard refused a live call
    │   ├── RateLimited                .retry_after (seconds)
    │   ├── InputRefused
    │   └── ModelIsolated
    ├── AccessDenied                   the subject: no permission covers the action
    └── RegistryError, IncidentError, EvidenceError

A message says what, where, expected and got, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlsecops._repr import concise_text


class MLSecOpsError(Exception):
    """Base of every error that this library raises on purpose; it crosses processes whole."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({concise_text(str(self))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__.copy())


def _restored(
    kind: type[MLSecOpsError], args: tuple[Any, ...], state: dict[str, Any]
) -> MLSecOpsError:
    """The error that a worker process raised: its constructor may demand options by name."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class MLSecOpsWarning(UserWarning):
    """Base of every warning that this library issues."""


class UsageError(MLSecOpsError, ValueError):
    """The caller passed something that cannot work."""


class MissingExtra(MLSecOpsError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class VerificationError(MLSecOpsError):
    """The artifact is not what was vouched for."""


class SignatureError(VerificationError):
    """No valid signature covers the artifact."""


class SignatureMissing(SignatureError):
    """There is no bundle where one is needed."""


class SignatureInvalid(SignatureError):
    """A signature does not match the bytes it claims to sign."""


class MalformedBundle(SignatureError):
    """The bundle cannot be read as one."""


class DigestMismatch(VerificationError):
    """Bytes differ from those that were recorded.

    Args:
        message: What was compared, where, and what to do.
        added: Names that are present and were not recorded.
        removed: Names that were recorded and are absent.
        changed: Names whose bytes differ.
    """

    def __init__(
        self,
        message: str,
        *,
        added: Iterable[str] = (),
        removed: Iterable[str] = (),
        changed: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.added = tuple(added)
        self.removed = tuple(removed)
        self.changed = tuple(changed)


class PolicyError(VerificationError):
    """The artifact is validly signed, but not as the policy demands."""


class UntrustedSigner(PolicyError, SignatureError):
    """No trusted key or root stands behind the signature: a fault of policy and of signature."""


class ThresholdNotMet(PolicyError):
    """Fewer trusted signers than the policy demands."""


class Expired(PolicyError):
    """A certificate or key was not valid at the time of verification."""


class Revoked(PolicyError):
    """The policy revokes the digest or the key."""


class Isolated(PolicyError):
    """An incident isolated the digest."""


class RollbackRefused(PolicyError):
    """The version is older than the floor allows."""


class ContentRefused(MLSecOpsError):
    """What the artifact holds is not allowed."""


class UnsafeContent(ContentRefused):
    """The content could run code or reach outside the artifact.

    Args:
        message: What was found, where, and what to do.
        rule: Id of the rule that refused it.
        where: Place in the artifact (file, offset, entry).
    """

    def __init__(self, message: str, *, rule: str, where: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.where = where


class FormatRefused(ContentRefused):
    """The format is unknown, malformed, or not the one its name claims."""


class LimitExceeded(ContentRefused):
    """A declared size or count is over its limit."""


class ChangedDuringLoad(ContentRefused):
    """The artifact changed while it was being read."""


class FrameworkTooOld(ContentRefused):
    """The installed framework has a known flaw for this format."""


class GateFailed(MLSecOpsError):
    """A measured figure is below its floor."""


class GateInconclusive(GateFailed):
    """The measurement does not settle whether the figure is above its floor."""


class CallRefused(MLSecOpsError):
    """A guard refused a live call."""


class RateLimited(CallRefused):
    """The client or the model is over its rate.

    Args:
        message: Who, which limit, and when to come back.
        retry_after: Seconds after which a call may succeed.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InputRefused(CallRefused):
    """The input does not have the shape, type or range that the model was built for."""


class ModelIsolated(CallRefused):
    """An incident isolated the model's digest while it was being served."""


class AccessDenied(MLSecOpsError):
    """No permission covers the action."""


class RegistryError(MLSecOpsError):
    """The registry cannot do what was asked, or its records contradict each other."""


class IncidentError(MLSecOpsError):
    """An incident or a playbook step cannot go on."""


class EvidenceError(MLSecOpsError):
    """Evidence is missing or is not what was recorded."""
