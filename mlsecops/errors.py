"""Exception tree of the library, with the party at fault.

    MLSecOpsError
    ├── UsageError (ValueError)        the caller: a wrong argument, an unknown option
    ├── MissingExtra (ImportError)     the installation: an optional package is missing
    ├── VerificationError              the artifact: it is not what was signed or recorded
    │   ├── SignatureError
    │   │   ├── SignatureMissing       no bundle where one is required
    │   │   ├── SignatureInvalid       a signature does not match the bytes
    │   │   └── MalformedBundle        the bundle cannot be parsed
    │   ├── DigestMismatch             bytes changed: .added .removed .changed
    │   └── PolicyError                validly signed, but refused by the policy
    │       ├── UntrustedSigner        (a SignatureError as well)
    │       ├── ThresholdNotMet
    │       ├── Expired
    │       ├── Revoked
    │       ├── Isolated               an incident isolated the digest
    │       └── RollbackRefused        older than the floor allows
    ├── ContentRefused                 the artifact: its content is not allowed
    │   ├── UnsafeContent              .rule .where
    │   ├── FormatRefused
    │   ├── LimitExceeded
    │   ├── ChangedDuringLoad
    │   └── FrameworkTooOld
    ├── GateFailed                     the model: measured below the floor
    │   └── GateInconclusive           the measurement does not decide it
    ├── CallRefused                    the client: a guard refused a live call
    │   ├── RateLimited                .retry_after (seconds)
    │   ├── InputRefused
    │   └── ModelIsolated
    ├── AccessDenied                   the subject: no permission covers the action
    └── RegistryError, IncidentError, EvidenceError

A message names the subject and the place, what was expected, what was found, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlsecops._repr import concise_text, printable


class MLSecOpsError(Exception):
    """Base of every error that this library raises; it pickles with its attributes."""

    def __str__(self) -> str:
        return printable(super().__str__())  # names from outside forge no lines of a log

    def __repr__(self) -> str:
        return f"{type(self).__name__}({concise_text(str(self))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__.copy())


def _restored(
    kind: type[MLSecOpsError], args: tuple[Any, ...], state: dict[str, Any]
) -> MLSecOpsError:
    """Unpickled error, made without its constructor, which may require keyword arguments."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class MLSecOpsWarning(UserWarning):
    """Base of every warning that this library issues."""


class UsageError(MLSecOpsError, ValueError):
    """An argument or option is wrong."""


class MissingExtra(MLSecOpsError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


class VerificationError(MLSecOpsError):
    """The artifact is not what was signed or recorded."""


class SignatureError(VerificationError):
    """No valid signature covers the artifact."""


class SignatureMissing(SignatureError):
    """There is no bundle where one is required."""


class SignatureInvalid(SignatureError):
    """A signature does not match the signed bytes."""


class MalformedBundle(SignatureError):
    """The bundle cannot be parsed."""


class DigestMismatch(VerificationError):
    """Bytes differ from the recorded ones; `added`, `removed` and `changed` are their names."""

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
    """The artifact is validly signed, but the policy refuses it."""


class UntrustedSigner(PolicyError, SignatureError):
    """No trusted key or root made the signature: an error of policy and of signature."""


class ThresholdNotMet(PolicyError):
    """There are fewer trusted signers than the policy requires."""


class Expired(PolicyError):
    """A certificate or key was not valid at the time of verification."""


class Revoked(PolicyError):
    """The policy revokes the digest or the key."""


class Isolated(PolicyError):
    """An incident isolated the digest."""


class RollbackRefused(PolicyError):
    """The version is older than the floor allows."""


class ContentRefused(MLSecOpsError):
    """The content of the artifact is not allowed."""


class UnsafeContent(ContentRefused):
    """The content could run code or reach outside the artifact.

    Args:
        message: What was found, where, and what to do.
        rule: Id of the rule that refuses it.
        where: Place in the artifact (file, offset, entry).
    """

    def __init__(self, message: str, *, rule: str, where: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.where = where


class FormatRefused(ContentRefused):
    """The format is unknown, malformed, or not the one its name claims."""


class LimitExceeded(ContentRefused):
    """A size or count exceeds its limit."""


class ChangedDuringLoad(ContentRefused):
    """The artifact changed during the read."""


class FrameworkTooOld(ContentRefused):
    """The installed framework has a known vulnerability for this format."""


class GateFailed(MLSecOpsError):
    """A measured figure is below its floor."""


class GateInconclusive(GateFailed):
    """The measurement does not decide whether the figure reaches its floor."""


class CallRefused(MLSecOpsError):
    """A guard refused a live call."""


class RateLimited(CallRefused):
    """The client or the model exceeds its rate; a call may succeed in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InputRefused(CallRefused):
    """The input has another shape, type or range than the model's."""


class ModelIsolated(CallRefused):
    """An incident isolated the digest of the served model."""


class AccessDenied(MLSecOpsError):
    """No permission allows the action."""


class RegistryError(MLSecOpsError):
    """The registry refuses an operation, or its records contradict each other."""


class IncidentError(MLSecOpsError):
    """An incident or a playbook step cannot continue."""


class EvidenceError(MLSecOpsError):
    """Evidence is missing or differs from the record."""
