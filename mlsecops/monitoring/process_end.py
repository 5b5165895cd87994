"""End of a process: everything is aggregated, delivered and published before it.

    ASGI server → `lifespan` → finish;  any other server's shutdown hook → `finish`
    SIGTERM → what waits is finished, and each further call as it ends → the handler before

Python runs no exit handlers when a signal ends it, and servers raise SIGTERM again when they are
done. So a monitor that has something to lose takes its turn before the handler that was there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked, number
from mlsecops._repr import concise_repr
from mlsecops.monitoring.worker import worker

_GRACE: Final = 10.0  # seconds; chosen: a third of the usual grace period of a container, 30 s
_AT_SIGNAL: Final = 2.0  # seconds; chosen: an end by a signal is not delayed noticeably

LifespanFunction: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


@checked
def finish(timeout: float = _GRACE) -> bool:
    """Aggregate and deliver what all monitors of this process hold; they go on watching.

    Call it where a server without a hook of its own here shuts down.

    Args:
        timeout: Seconds that it may take, ≥ 0.

    Returns:
        Whether nothing waits any more.

    Examples:
        >>> finish()
        True
    """
    number("timeout", timeout, "seconds from 0 on", lambda seconds: seconds >= 0)
    return worker.finish(timeout)


@concise_repr("timeout")
class Lifespan:
    """ASGI lifespan that finishes the monitors when the server shuts down.

    Args:
        timeout: Seconds that this may take at the shutdown, ≥ 0.

    Raises:
        UsageError: The time is below 0 or no number.

    Source: ASGI specification, "Lifespan Protocol"; Starlette, "Lifespan".
    """

    @checked
    def __init__(self, *, timeout: float = _GRACE) -> None:
        self.timeout = number("timeout", timeout, "seconds from 0 on", lambda seconds: seconds >= 0)

    def __call__(self, _app: Any) -> AbstractAsyncContextManager[None]:
        """The context of an application's life."""
        return self._context()

    @checked
    def around(self, other: LifespanFunction) -> LifespanFunction:
        """Join another lifespan, whose end comes first and whose state is kept."""

        @asynccontextmanager
        async def both(app: Any) -> AsyncIterator[Any]:
            async with self._context(), other(app) as state:
                yield state

        return both

    @asynccontextmanager
    async def _context(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await _off_the_loop(self.timeout)


async def _off_the_loop(seconds: float) -> None:
    """Finish without holding up the event loop, if it is one of asyncio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        worker.finish(seconds)
    else:
        await asyncio.to_thread(worker.finish, seconds)


lifespan: Final = Lifespan()


class _Termination:
    """Handler of SIGTERM in front of the one that was there."""

    def __init__(self) -> None:
        self._before: Any = None

    def watch(self) -> None:
        """Take the turn before the present handler; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        present = signal.getsignal(signal.SIGTERM)
        if present in (None, signal.SIG_IGN, self._handle):
            return
        before, self._before = self._before, present
        try:
            signal.signal(signal.SIGTERM, self._handle)
        except ValueError:  # in a subinterpreter
            self._before = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # In a thread, because this one may have been interrupted while it held a lock.
        thread = threading.Thread(target=worker.finish, args=(_AT_SIGNAL,), daemon=True)
        thread.start()
        thread.join(_AT_SIGNAL)
        if callable(self._before):
            worker.end()
            self._before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


termination: Final = _Termination()
if sys.platform == "win32":  # there SIGTERM ends a process at once, and no handler runs
    termination.watch = lambda: None  # type: ignore[method-assign]
