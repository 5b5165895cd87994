"""Recheck of a loaded model in use: revocation, expiry, floors and isolation of the moment.

LoadedModel → Watch, at an interval → policy and isolation of that moment → usable, or an error

The bytes are in memory and are not checked again.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol, Self

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import Isolated, MLSecOpsError, PolicyError, VerificationError
from mlsecops.loading.telemetry import record_recheck
from mlsecops.provenance import Digest, Isolation
from mlsecops.provenance.isolation import first_isolated
from mlsecops.signing import TrustPolicy, Verified, Verifier
from mlsecops.signing.naming import ExpectedName

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_LOOK: Final = 1.0  # seconds; chosen: isolation reaches a model in use within two

Notify = Callable[[VerificationError], object]


class Loaded(Protocol):
    """A verified model with its bundle."""

    @property
    def verified(self) -> Verified:
        """Result of the verification."""

    @property
    def bundle(self) -> bytes:
        """Bytes of the bundle."""

    @property
    def expected(self) -> ExpectedName | None:
        """Name that it was expected to be signed under, or None for a pinned model."""


def require_usable(loaded: Loaded, policy: TrustPolicy, isolation: Isolation | None) -> None:
    """Demand that a loaded model would still be accepted.

    Args:
        loaded: The model.
        policy: The current policy.
        isolation: Source of isolated digests, or None.

    Raises:
        VerificationError: Its signers, digests, age or name are not accepted any more.
        Isolated: An incident isolated it.
    """
    manifest = loaded.verified.manifest
    name = loaded.verified.name
    signed = Verifier(policy).open(loaded.bundle, where=name, expected=loaded.expected)
    digests = (manifest.root, *(entry.digest for entry in manifest))
    require_not_isolated(digests, isolation, where=name)
    require_signers(signed.signers, policy, isolation, where=name)


def require_not_isolated(
    digests: Digest | Iterable[Digest], isolation: Isolation | None, *, where: str
) -> None:
    """Demand that no incident isolated one of some digests.

    Raises:
        Isolated: One did, or the source of isolations does not answer.
    """
    if isolation is None:
        return
    asked = (digests,) if isinstance(digests, Digest) else digests
    try:
        digest, reason = first_isolated(isolation, asked)
    except (MLSecOpsError, OSError) as error:
        raise Isolated(
            f"{where}: cannot check whether it is isolated, because the source of isolations "
            f"cannot be trusted now: {error}"
        ) from error
    if reason is not None:
        raise Isolated(
            f"{where}: {digest} is isolated: {reason}; load another version, "
            "or close the incident first"
        )


def require_signers(
    signers: Iterable[str], policy: TrustPolicy, isolation: Isolation | None, *, where: str
) -> None:
    """Demand that enough signers are left whose keys no incident isolated.

    Args:
        signers: Fingerprints of keys; certificate subjects are left to the policy's `revoked`.
        policy: The policy, for its threshold.
        isolation: Source of isolated digests, or None.
        where: Path of the model, for messages.

    Raises:
        Isolated: Too few are left, or the source does not answer.
    """
    refused: list[str] = []
    left = 0
    for signer in signers:
        try:
            if _FINGERPRINT.fullmatch(signer):
                require_not_isolated(Digest.parse(f"sha256:{signer}"), isolation, where=where)
        except Isolated as error:
            refused.append(str(error))
        else:
            left += 1
    if refused and left < policy.threshold:
        raise Isolated(f"{where}: the key of a signer leaked or is isolated: {refused[0]}")


@concise_repr("_loaded.digest", "_interval", "_refused")
@checked
class Watch:
    """Checks a loaded model at an interval on a background thread; a context that ends it.

    A model that is refused and accepted later (its incident was closed) is usable again. While the
    policy or the registry cannot be read, it is not usable.

    Args:
        loaded: The model.
        policy: Returns the current policy, such as `lambda: TrustPolicy.load("trust.toml")`.
        isolation: Source of isolated digests (a registry), or None.
        interval: Seconds between checks, > 0; isolation is looked at every second besides.
        notify: Called with the error when the model becomes unusable; what it raises is ignored.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        policy: Callable[[], TrustPolicy],
        isolation: Isolation | None = None,
        interval: float = 60.0,
        notify: Notify | None = None,
    ) -> None:
        self._loaded: Final = loaded
        self._policy = policy
        self._isolation = isolation
        self._interval = interval
        self._notify = notify
        self._refused: VerificationError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlsecops-watch", daemon=True)
        self.check()
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def require(self) -> None:
        """Demand that the last check passed.

        Raises:
            VerificationError: It failed; the error names the reason.
        """
        if self._refused is not None:
            raise self._refused

    def check(self) -> bool:
        """Check now; return whether the model may be used."""
        before, self._refused = self._refused, self._found()
        reason = None if self._refused is None else type(self._refused).__name__
        outcome = "usable" if reason is None else "withdrawn"
        record_recheck(outcome, digest=str(self._loaded.verified.digest), reason=reason)
        if self._refused is not None and before is None and self._notify is not None:
            self._call(self._notify, self._refused)
        return self._refused is None

    def close(self) -> None:
        """Stop checking; the last result stays."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _found(self) -> VerificationError | None:
        try:
            require_usable(self._loaded, self._policy(), self._isolation)
        except VerificationError as error:
            return error
        except Exception as error:  # noqa: BLE001 - an error in a check is a refusal
            return PolicyError(
                f"{self._loaded.verified.name}: cannot check whether it may still be used: "
                f"{error}; restore access to the policy and the registry"
            )
        return None

    def _run(self) -> None:
        """Check at the interval, and in between when the answer about isolation changes."""
        known = self._isolated()
        due = time.monotonic() + self._interval
        while not self._closed.wait(min(_LOOK, max(0.0, due - time.monotonic()))):
            found = self._isolated() if self._interval > _LOOK else known
            if found != known or time.monotonic() >= due:
                self.check()
                known, due = found, time.monotonic() + self._interval

    def _isolated(self) -> str | None:
        """What the source of isolations says about the model now."""
        manifest = self._loaded.verified.manifest
        digests = (manifest.root, *(entry.digest for entry in manifest))
        try:
            require_not_isolated(digests, self._isolation, where="")
        except Isolated as error:
            return str(error)
        return None

    @staticmethod
    def _call(notify: Notify, error: VerificationError) -> None:
        try:
            notify(error)
        except Exception:  # noqa: BLE001 - the caller's own fault must not end the watch
            return
