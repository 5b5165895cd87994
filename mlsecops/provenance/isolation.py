"""Isolation watch: isolated digests of a source, asked for at most once a refresh period.

source (registry, deny-list) → `IsolationWatch`: last answer and its age → reason, none, or an error

A registry answers for all digests with one conditional read of its log's checkpoint. Every watch of
one source in a process shares the answers. A source that does not answer is out of contact: the
last answer counts until it is `stale_after` seconds old. A log that does not verify is no matter of
contact: it is an error at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from mlsecops._choices import number, of_type
from mlsecops._repr import concise_repr
from mlsecops.errors import RegistryError, VerificationError
from mlsecops.provenance.digest import Digest, Isolation

__all__ = ["IsolationWatch", "first_isolated"]

Clock = Callable[[], float]
Answer = Mapping[str, str]
"""Isolated digests as text → reason."""

_PATIENCE: Final = 1.0  # seconds that a caller waits for one answer; chosen: as the refresh period
_MOST_POLLS: Final = 4096  # digests of a source that cannot list; chosen: files of a large model


def first_isolated(
    source: Isolation, digests: Iterable[Digest]
) -> tuple[Digest, str] | tuple[None, None]:
    """The first isolated digest with its reason; one reading where the source can list.

    Args:
        source: Source of isolated digests.
        digests: Digests to look for.

    Raises:
        Exception: Whatever the source raises where it cannot answer.
    """
    listing = getattr(source, "isolations", None)
    answer = None if listing is None else listing()
    for digest in digests:
        reason = source.isolated(digest) if answer is None else answer.get(str(digest))
        if reason is not None:
            return digest, reason
    return None, None


@concise_repr("_source", "_refresh", "_stale_after")
class IsolationWatch:
    """Isolated digests of a source, with a bound on how often it is asked and how old an answer is.

    Args:
        source: Source of isolated digests, such as a registry.
        refresh: Seconds for which an answer is kept, ≥ 0; with 0 every call asks.
        stale_after: Seconds without contact until every digest counts as isolated, ≥ 0.
        clock: Monotonic time in seconds.

    Raises:
        UsageError: An argument is out of its range, or the source cannot be asked.
    """

    def __init__(
        self,
        source: Isolation,
        *,
        refresh: float = 1.0,
        stale_after: float = 10.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._source = of_type("isolation", source, "isolated", "a registry")
        self._refresh = number("refresh", refresh, "seconds from 0 on", _not_negative)
        self._stale_after = number("stale_after", stale_after, "seconds from 0 on", _not_negative)
        self._lists = hasattr(source, "isolations")
        self._polls = _shared_polls(source, clock)
        self._clock = clock

    def isolated(self, digest: Digest) -> str | None:
        """Reason why a digest must not be used, or None.

        Raises:
            RegistryError: There was no contact for `stale_after` seconds.
            VerificationError: The source's log does not verify.
        """
        return self._current(None if self._lists else digest).get(str(digest))

    def isolations(self) -> Answer | None:
        """Every isolated digest with its reason, or None where the source cannot list them.

        Raises:
            RegistryError: There was no contact for `stale_after` seconds.
            VerificationError: The source's log does not verify.
        """
        return self._current(None) if self._lists else None

    def _current(self, digest: Digest | None) -> Answer:
        poll = self._polls.get(digest)
        if poll is None:
            if len(self._polls) >= _MOST_POLLS:
                self._polls.pop(next(iter(self._polls)), None)
            poll = self._polls.setdefault(digest, _Poll(self._clock))
        read = partial(_read, self._source, digest)
        return poll.current(read, refresh=self._refresh, stale_after=self._stale_after)


class _Poll:
    """The last answer of a source, and the request that is under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._answer: Answer = {}
        self._answered: float | None = None  # when it was asked for, on the clock
        self._tried: float | None = None
        self._failure: Exception | None = None
        self._pending: tuple[threading.Event, float] | None = None

    def current(self, read: Callable[[], Answer], *, refresh: float, stale_after: float) -> Answer:
        if refresh > 0:
            self._refreshed(read, refresh)
        elif self._ask(read, self._clock()):
            return self._answer
        failure, answered = self._failure, self._answered
        if isinstance(failure, VerificationError):
            raise failure
        age = None if answered is None else self._clock() - answered
        if age is None or age > max(refresh, stale_after):
            since = "so far" if age is None else f"for {age:.1f} s, at most {stale_after:g} s count"
            why = (
                "it does not answer" if failure is None else f"{type(failure).__name__}: {failure}"
            )
            raise RegistryError(
                f"no contact with the source of isolations {since}: {why}; restore access to it"
            ) from failure
        return self._answer

    def _refreshed(self, read: Callable[[], Answer], refresh: float) -> None:
        """Begin a request if one is due, and wait a while for the one under way."""
        if self._process != os.getpid():  # after a fork the thread of a request does not exist
            self._lock, self._pending, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            now = self._clock()
            if self._pending is None and (self._tried is None or now - self._tried >= refresh):
                done = threading.Event()
                self._pending, self._tried = (done, time.monotonic()), now
                threading.Thread(
                    target=self._run, args=(read, done, now), name="mlsecops-isolation", daemon=True
                ).start()
            pending = self._pending
        if pending is not None:
            pending[0].wait(max(0.0, pending[1] + _PATIENCE - time.monotonic()))

    def _run(self, read: Callable[[], Answer], done: threading.Event, began: float) -> None:
        try:
            self._ask(read, began)
        finally:
            with self._lock:
                self._pending = None
            done.set()

    def _ask(self, read: Callable[[], Answer], began: float) -> bool:
        try:
            answer = read()
        except Exception as error:  # noqa: BLE001 - a source may fail in any way; age decides
            self._failure = error
            return False
        self._answer, self._answered, self._failure = answer, began, None
        return True


_SHARED: Final[WeakKeyDictionary[Any, dict[Clock, dict[Digest | None, _Poll]]]] = (
    WeakKeyDictionary()
)
_SHARED_LOCK: Final = threading.Lock()


def _shared_polls(source: Isolation, clock: Clock) -> dict[Digest | None, _Poll]:
    """Polls of a source by digest; None is for all digests at once."""
    try:
        with _SHARED_LOCK:
            return _SHARED.setdefault(source, {}).setdefault(clock, {})
    except TypeError:  # it cannot be hashed or referred to weakly
        return {}


def _read(source: Any, digest: Digest | None) -> Answer:
    if digest is None:
        found: Answer = source.isolations()
        return found
    reason = source.isolated(digest)
    return {} if reason is None else {str(digest): reason}


def _not_negative(value: float) -> bool:
    return value >= 0
