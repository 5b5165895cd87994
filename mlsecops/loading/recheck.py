"""Recheck of a loaded model in use: revocation, expiry, floors and isolation of the moment.

LoadedModel → Watch, at an interval → policy and isolation of that moment → usable, or an error

The bytes are in memory and are not checked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from mlsecops._repr import concise_repr
from mlsecops.errors import Isolated, PolicyError, VerificationError
from mlsecops.loading.telemetry import record_recheck
from mlsecops.provenance import Digest, Isolation
from mlsecops.signing import TrustPolicy, Verified, Verifier
from mlsecops.signing.naming import ExpectedName

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
    Verifier(policy).open(loaded.bundle, where=name, expected=loaded.expected)
    for digest in (manifest.root, *(entry.digest for entry in manifest)):
        require_not_isolated(digest, isolation, where=loaded.verified.name)


def require_not_isolated(digest: Digest, isolation: Isolation | None, *, where: str) -> None:
    """Demand that no incident isolated a digest.

    Raises:
        Isolated: One did.
    """
    reason = None if isolation is None else isolation.isolated(digest)
    if reason is not None:
        raise Isolated(
            f"{where}: {digest} is isolated: {reason}; load another version, "
            "or close the incident first"
        )


@concise_repr("_loaded.digest", "_interval", "_refused")
class Watch:
    """Checks a loaded model at an interval on a background thread; a context that ends it.

    A model that is refused and accepted later (its incident was closed) is usable again. While the
    policy or the registry cannot be read, it is not usable.

    Args:
        loaded: The model.
        policy: Returns the current policy, such as `lambda: TrustPolicy.load("trust.toml")`.
        isolation: Source of isolated digests (a registry), or None.
        interval: Seconds between checks, > 0.
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
        while not self._closed.wait(self._interval):
            self.check()

    @staticmethod
    def _call(notify: Notify, error: VerificationError) -> None:
        try:
            notify(error)
        except Exception:  # noqa: BLE001 - the caller's own fault must not end the watch
            return
