"""Budget of CPU time and bytes for one artifact, shared by everything that reads a part of it.

size and limits of the artifact → Budget, current while a block lasts → readers spend it → the
answer, or LimitExceeded

A limit on each part is none on the whole: archives in archives, files of a folder and entries of a
file multiply. Readers spend from the budget of the outermost artifact, wherever they are called.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from mlsecops.errors import LimitExceeded

MIB: Final = 1 << 20  # bytes
ANY_RATIO: Final = 64 * MIB  # bytes; chosen: zeros compress 1000:1, so small files may
SECONDS: Final = 300  # CPU seconds; measured: a pickle of 20 million opcodes takes 60
SMALL_SECONDS: Final = 2.0  # CPU seconds; chosen: an honest file of a few bytes takes 0.01
SECONDS_A_BYTE: Final = 4.0 / MIB
"""CPU seconds; measured: pickled empty lists, the slowest honest content, take 3 a MiB. With
`SMALL_SECONDS`, an input of 1 MB has six of the ten seconds that any may take."""
FILE_BYTES: Final = 4096  # bytes; a disk block: least size that a file of a folder counts with
TEXT: Final = 4 * MIB  # bytes; measured: 1 MiB of JSON becomes 60 MiB of objects in 0.4 s at worst
TEXT_RATIO: Final = 4  # bytes of text for each stored byte; chosen: vocabularies compress 4:1


class Budget:
    """What reading one artifact may cost.

    Args:
        stored: Bytes of the artifact as it is stored; the budget grows with them.
        seconds: Largest CPU seconds, whatever the size.
        unpacked: Largest number of unpacked bytes, whatever the size.
        ratio: Unpacked bytes for each stored byte.

    Examples:
        >>> Budget(1000, unpacked=10).spend(11, where="a.zip")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mlsecops.errors.LimitExceeded: a.zip: more than 10 bytes unpacked in all: expected fewer ...
    """

    def __init__(
        self,
        stored: int,
        *,
        seconds: float = SECONDS,
        unpacked: int = 1 << 40,
        ratio: int = 100,
    ) -> None:
        self._seconds = min(seconds, SMALL_SECONDS + SECONDS_A_BYTE * stored)
        self._most = min(unpacked, max(ratio * stored, ANY_RATIO))
        self._longest = TEXT + TEXT_RATIO * stored
        self._unpacked, self._used = 0, 0.0
        self._since: float | None = None

    @property
    def seconds_left(self) -> float:
        """CPU seconds that are left, below 0 after the end."""
        running = 0.0 if self._since is None else time.thread_time() - self._since
        return self._seconds - self._used - running

    def spend(self, count: int, *, where: str) -> None:
        """Take bytes that were unpacked, and demand that time is left.

        Raises:
            LimitExceeded: The budget is used up.
        """
        self._unpacked += count
        if self._unpacked > self._most:
            raise LimitExceeded(
                f"{where}: more than {self._most} bytes unpacked in all: expected fewer for its "
                "size; raise Limits(ratio=…, bytes=…) if this file is meant to be so large"
            )
        self.tick(where=where)

    def tick(self, *, where: str) -> None:
        """Demand that time is left.

        Raises:
            LimitExceeded: It is used up.
        """
        if self.seconds_left < 0:
            raise LimitExceeded(
                f"{where}: not read within {self._seconds:.0f} CPU seconds for the whole artifact; "
                "read its files one by one, or raise Limits(seconds=…) where they are many"
            )

    def require_text(self, count: int, *, where: str) -> None:
        """Demand that so many bytes may be parsed at once, which takes memory many times as large.

        Raises:
            LimitExceeded: They may not.
        """
        if count > self._longest:
            raise LimitExceeded(
                f"{where}: {count} bytes of text to parse: expected at most {self._longest} in an "
                "artifact of its size; unpack it and read the file by itself"
            )

    def charge(self, seconds: float) -> None:
        """Take CPU seconds that another process used."""
        self._used += seconds

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of this thread until the block ends."""
        self._since = time.thread_time()
        try:
            yield
        finally:
            self._used += time.thread_time() - self._since
            self._since = None


_current: ContextVar[Budget | None] = ContextVar("mlsecops_budget", default=None)


def current() -> Budget | None:
    """The budget of the artifact that is being read, or None outside of `spending`."""
    return _current.get()


@contextlib.contextmanager
def spending(own: Budget) -> Iterator[Budget]:
    """Make a budget the current one until the block ends; inside another's, that one stays."""
    around = _current.get()
    if around is not None:
        yield around
        return
    token = _current.set(own)
    try:
        with own.running():
            yield own
    finally:
        _current.reset(token)


def spend(count: int, *, where: str) -> None:
    """Take unpacked bytes from the current budget, if there is one."""
    if (found := _current.get()) is not None:
        found.spend(count, where=where)


def tick(*, where: str) -> None:
    """Demand that time is left in the current budget, if there is one."""
    if (found := _current.get()) is not None:
        found.tick(where=where)


def require_text(count: int, *, where: str) -> None:
    """Demand that the current budget, if there is one, lets so many bytes be parsed at once."""
    if (found := _current.get()) is not None:
        found.require_text(count, where=where)


class Pace:
    """Look at the current budget's time after every so many steps of a loop.

    Args:
        where: Name for messages.
    """

    __slots__ = ("_steps", "_where")

    def __init__(self, where: str) -> None:
        self._where, self._steps = where, 0

    def step(self, count: int = 1) -> None:
        """Count steps of at most about 10 µs each.

        Raises:
            LimitExceeded: No time is left.
        """
        self._steps += count
        if self._steps >= _STEPS:
            self._steps = 0
            tick(where=self._where)


_STEPS: Final = 256  # steps; chosen: a look takes a microsecond, and comes every few milliseconds
