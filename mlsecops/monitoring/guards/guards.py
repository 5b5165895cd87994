"""Guards: rate limit, input validation and isolation check before a call, on the caller's thread.

call → RateLimit, Quota (`quotas`), InputGuard, IsolationGuard → model, or CallRefused
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import numpy as np

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked, number, whole
from mlsecops._repr import concise_repr
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.tables.containers import as_dense
from mlsecops.errors import InputRefused, ModelIsolated, RateLimited, UsageError
from mlsecops.provenance.digest import Digest, Isolation
from mlsecops.provenance.isolation import IsolationWatch

_KINDS: Final = "biuf"


class Guard(Protocol):
    """Check before a call; the only part of monitoring that may refuse a call."""

    def check(self, client: str | None, inputs: Any) -> None:
        """Return to admit a client's call with these inputs, or raise.

        Raises:
            CallRefused: The call is refused.
        """


@concise_repr("_rate", "_per", "_burst")
@checked
class RateLimit:
    """Rate limit by token buckets in this process.

    Args:
        rate: Calls per second in the long run, > 0.
        per: `"client"` for a bucket for each client, `"model"` for one bucket for all.
        burst: Calls at once, > 0; one second's worth by default.
        cost: Cost of a call with this input; 1 by default. Use `len` where calls are batches.
        capacity: Number of clients in memory; the least recently seen is removed.
        clock: Monotonic time in seconds.

    Raises:
        UsageError: An argument is out of its range, or `per` is unknown.

    Examples:
        >>> RateLimit(2, burst=1, clock=lambda: 0.0).check("ann", None)
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
        self._rate = number("rate", rate, "calls a second above 0", _positive)
        self._per = per
        burst = rate if burst is None else number("burst", burst, "calls above 0", _positive)
        self._burst = max(1.0, burst)
        self._cost = cost
        self._clock = clock
        whole("capacity", capacity, "a number of clients from 1 on")
        self._lock, self._process = threading.Lock(), os.getpid()
        full = self._burst
        self._buckets: BoundedMap[str | None, list[float]] = BoundedMap(
            lambda: [full, -math.inf], capacity=capacity, ttl=max(3600.0, full / rate)
        )

    def check(self, client: str | None, inputs: Any) -> None:
        """Take the tokens for the call, or raise `RateLimited` if the client has too few."""
        cost = self._cost(inputs)
        if self._process != os.getpid():
            # After a fork, the thread that held the lock does not exist here.
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            now = self._clock()
            bucket = self._buckets.use(client if self._per == "client" else None, now)
            tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
            needed = min(cost, self._burst)
            if tokens >= needed:
                # A batch larger than the burst leaves the bucket below zero.
                bucket[:] = [tokens - cost, now]
                return
            bucket[:] = [tokens, now]
        wait = (needed - tokens) / self._rate
        who = f"client {client!r}" if self._per == "client" else "all clients together"
        raise RateLimited(
            f"{who}: at most {self._rate:g} calls a second; retry in {wait:.2f} s",
            retry_after=wait,
        )


@concise_repr("_max_rows", "_baseline.rows")
@checked
class InputGuard:
    """Input validation against the shape, kind and range of a baseline.

    Args:
        baseline: Normal inputs.
        margin: Tolerance outside the baseline's range, in extents of the feature, ≥ 0; codes of a
            categorical feature have none.
        max_rows: Largest batch, in rows.

    Raises:
        UsageError: An argument has another type or is out of its range.
    """

    control: Final = "Input checks"

    def __init__(self, baseline: Baseline, *, margin: float = 1.0, max_rows: int = 65_536) -> None:
        ranges = baseline.anomalies
        margin = number("margin", margin, "extents from 0 on", lambda extents: extents >= 0)
        self._baseline = baseline
        self._max_rows = whole("max_rows", max_rows, "a number of rows from 1 on")
        # Codes have no order, so a margin around them has no meaning.
        allowed = margin * np.where(baseline.inputs.categorical, 0.0, ranges.extent)
        self._low = ranges.low - allowed
        self._high = ranges.high + allowed
        self._complete = ranges.complete > 0

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - the protocol passes the client
        """Compare an input with the baseline; raise `InputRefused` if it does not fit."""
        self._columns(inputs)
        if not self._baseline.schema.columns:
            try:
                inputs = np.asarray(as_dense(inputs))
            except UsageError as error:
                raise InputRefused(str(error)) from error
            if inputs.dtype.kind not in _KINDS:
                raise InputRefused(f"input: expected numbers, got {inputs.dtype}")
        size = len(inputs) if hasattr(inputs, "__len__") and np.ndim(inputs) else 1
        if np.shape(inputs) != self._baseline.shape:
            self._limit(size)
        try:
            rows = self._baseline.table(inputs)
        except UsageError as error:
            raise InputRefused(str(error)) from error
        self._limit(len(rows))  # a dict of columns has no length of its own
        missing = np.isnan(rows)
        if (missing & self._complete).any():
            raise InputRefused(
                f"input: {self._names(missing & self._complete)} must not be missing"
            )
        outside = ~missing & ~((rows >= self._low) & (rows <= self._high))
        if outside.any():
            raise InputRefused(f"input: {self._names(outside)} far outside the baseline's range")

    def _limit(self, rows: int) -> None:
        if rows > self._max_rows:
            raise InputRefused(f"input: at most {self._max_rows} rows, got {rows}")

    def _columns(self, inputs: Any) -> None:
        columns = getattr(inputs, "columns", None)
        if columns is None or self._baseline.names[0] == "f0":
            return
        got = [str(each) for each in columns]
        if self._baseline.schema.named:  # a table is read by its names, in any order
            gone = [name for name, _ in self._baseline.schema.columns if name not in got]
            if gone:
                found = ", ".join(got)[:80]
                raise InputRefused(f"input: expected column {gone[0]!r}, got {found}")
            return
        for place, expected in enumerate(self._baseline.names):
            found = got[place] if place < len(got) else "nothing"
            if found != expected:
                raise InputRefused(f"input: expected column {expected!r}, got {found!r}")

    def _names(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
        names = [self._baseline.names[i] for i in np.flatnonzero(mask.any(axis=0))]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


@concise_repr("_digest", "_watch")
@checked
class IsolationGuard:
    """Isolation check: refuses calls of a model that an incident isolated while it was served.

    The source is asked at most once a refresh period, by one request for all guards of it in this
    process. While it does not answer, its last answer counts until it is `stale_after` seconds old;
    then every call is refused until it answers again. A log that does not verify refuses at once.

    Args:
        digest: Digest of the model.
        isolation: Source of isolations, such as a registry.
        refresh: Seconds for which an answer is kept, ≥ 0; with 0 every call asks.
        stale_after: Seconds without contact until calls are refused, ≥ 0.
        clock: Monotonic time in seconds.

    Raises:
        UsageError: An argument has another type or is out of its range.
    """

    control: Final = "Isolation"

    def __init__(
        self,
        digest: Digest,
        isolation: Isolation,
        *,
        refresh: float = 1.0,
        stale_after: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._digest = digest
        self._watch = IsolationWatch(
            isolation, refresh=refresh, stale_after=stale_after, clock=clock
        )

    def check(self, client: str | None, inputs: Any) -> None:  # noqa: ARG002 - every client is refused
        """Raise `ModelIsolated` unless the source said lately that the model is not isolated."""
        try:
            reason = self._watch.isolated(self._digest)
        except Exception as error:
            raise ModelIsolated(
                f"model {self._digest.short}: cannot check whether it is isolated, because the "
                f"source of isolations cannot be trusted now: {error}; restore access to it"
            ) from error
        if reason is not None:
            raise ModelIsolated(f"model {self._digest.short} is isolated: {reason}")


def _positive(value: float) -> bool:
    return value > 0
