"""What may refuse a call before the model sees it, on the caller's thread.

call → RateLimit, Quota (`quotas`), InputGuard, IsolationGuard → the model, or CallRefused
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import numpy as np

from mlsecops._bounded_map import BoundedMap
from mlsecops.drift.baseline import Baseline
from mlsecops.errors import InputRefused, ModelIsolated, RateLimited, UsageError
from mlsecops.provenance.digest import Digest, Isolation

__all__ = ["Guard", "InputGuard", "IsolationGuard", "RateLimit"]

_KINDS: Final = "biuf"


class Guard(Protocol):
    """Decides whether a call may go on; it is the only part of monitoring that may refuse one."""

    def check(self, client: str | None, inputs: Any) -> None:
        """Let the call pass, or refuse it.

        Args:
            client: Who calls, or None.
            inputs: What the model is about to see.

        Raises:
            CallRefused: The call must not go on.
        """


class RateLimit:
    """Refuses clients that call too often (token buckets, in this process).

    Args:
        rate: Calls a second that a client may make in the long run, > 0.
        per: Whether each client has a bucket, or all of them together have one.
        burst: Calls it may make at once; one second's worth by default.
        cost: What a call of that input costs; 1 by default. Use `len` where calls are batches.
        capacity: Number of clients remembered; the least recently seen is forgotten.
        clock: Monotonic time in seconds.
    """

    control: Final = "Rate limit"

    def __init__(
        self,
        rate: float,
        *,
        per: Literal["client", "model"] = "client",
        burst: float | None = None,
        cost: Callable[[Any], float] = lambda _: 1.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise UsageError(f"rate: expected calls a second above 0, got {rate}")
        self._rate = rate
        self._per = per
        self._burst = max(1.0, rate if burst is None else burst)
        self._cost = cost
        self._clock = clock
        self._lock, self._process = threading.Lock(), os.getpid()
        full = self._burst
        self._buckets: BoundedMap[str | None, list[float]] = BoundedMap(
            lambda: [full, -math.inf], capacity=capacity, ttl=max(3600.0, full / rate)
        )

    def check(self, client: str | None, inputs: Any) -> None:
        """Take the tokens that the call costs.

        Raises:
            RateLimited: The client has none left.
        """
        cost = self._cost(inputs)
        if self._process != os.getpid():
            # Forked: a thread that held the lock is not here to release it.
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            now = self._clock()
            bucket = self._buckets.use(client if self._per == "client" else None, now)
            tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
            needed = min(cost, self._burst)
            if tokens >= needed:
                # A batch larger than the burst is paid for by going into debt.
                bucket[:] = [tokens - cost, now]
                return
            bucket[:] = [tokens, now]
        wait = (needed - tokens) / self._rate
        who = f"client {client!r}" if self._per == "client" else "all clients together"
        raise RateLimited(
            f"{who}: at most {self._rate:g} calls a second; retry in {wait:.2f} s",
            retry_after=wait,
        )


class InputGuard:
    """Refuses inputs that do not have the shape, kind and range of the baseline.

    Args:
        baseline: What inputs look like.
        margin: How far outside the baseline's range a value may lie, in extents of its feature;
            codes of a categorical feature may not.
        max_rows: Largest batch.
    """

    control: Final = "Input checks"

    def __init__(self, baseline: Baseline, *, margin: float = 1.0, max_rows: int = 65_536) -> None:
        ranges = baseline.anomalies
        self._baseline = baseline
        self._max_rows = max_rows
        # Codes have no order, so there is nothing a little outside of them.
        allowed = margin * np.where(baseline.inputs.categorical, 0.0, ranges.extent)
        self._low = ranges.low - allowed
        self._high = ranges.high + allowed
        self._complete = ranges.complete > 0

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - a Guard is told who calls
        """Compare an input with the baseline.

        Raises:
            InputRefused: It is not an input for this model.
        """
        self._columns(inputs)
        values = np.asarray(inputs)
        if values.dtype.kind not in _KINDS:
            raise InputRefused(f"input: expected numbers, got {values.dtype}")
        if values.ndim and len(values) > self._max_rows and values.shape != self._baseline.shape:
            raise InputRefused(f"input: at most {self._max_rows} rows, got {len(values)}")
        try:
            rows = self._baseline.table(values)
        except UsageError as error:
            raise InputRefused(str(error)) from error
        missing = np.isnan(rows)
        if (missing & self._complete).any():
            raise InputRefused(
                f"input: {self._names(missing & self._complete)} must not be missing"
            )
        outside = ~missing & ~((rows >= self._low) & (rows <= self._high))
        if outside.any():
            raise InputRefused(f"input: {self._names(outside)} far outside the baseline's range")

    def _columns(self, inputs: Any) -> None:
        """Columns of a table have the baseline's names, if it was given any, in its order."""
        columns = getattr(inputs, "columns", None)
        if columns is None or self._baseline.names[0] == "f0":
            return
        got = [str(each) for each in columns]
        for place, expected in enumerate(self._baseline.names):
            found = got[place] if place < len(got) else "nothing"
            if found != expected:
                raise InputRefused(f"input: expected column {expected!r}, got {found!r}")

    def _names(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
        """The first few features that a mask marks in any row."""
        names = [self._baseline.names[i] for i in np.flatnonzero(mask.any(axis=0))]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


class IsolationGuard:
    """Refuses calls of a model that an incident isolated while it was being served.

    A reason once seen is final for this guard's refresh period; if it cannot be found out whether
    the model is isolated, the call is refused.

    Args:
        digest: The model's digest.
        isolation: Who knows (a registry, say).
        refresh: Seconds for which an answer holds, ≥ 0.
        clock: Monotonic time in seconds.
    """

    control: Final = "Isolation"

    def __init__(
        self,
        digest: Digest,
        isolation: Isolation,
        *,
        refresh: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._digest = digest
        self._isolation = isolation
        self._refresh = refresh
        self._clock = clock
        self._answer: tuple[float, str | None] = (-math.inf, None)

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - the model is refused, whoever calls
        """Ask whether the model is isolated, at most once per refresh period.

        Raises:
            ModelIsolated: It is, or nobody can say.
        """
        now = self._clock()
        asked, reason = self._answer
        if now - asked >= self._refresh:
            try:
                reason = self._isolation.isolated(self._digest)
            except Exception as error:
                raise ModelIsolated(
                    f"model {self._digest.short}: cannot find out whether it is isolated: {error}; "
                    "restore access to the registry"
                ) from error
            self._answer = (now, reason)
        if reason is not None:
            raise ModelIsolated(f"model {self._digest.short} is isolated: {reason}")
