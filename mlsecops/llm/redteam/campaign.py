"""Red-team campaign against a language model.

attempts → bounded queue → concurrent workers → target → scored answers → journal → `Campaign`. The
order of the answers does not affect the results.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import Ledger
from mlsecops.llm.redteam.generator import FAMILIES, iter_attempts
from mlsecops.llm.redteam.journal import FuzzJournal, exclusive_lock
from mlsecops.llm.redteam.results import Campaign, Result
from mlsecops.llm.redteam.scoring import score
from mlsecops.llm.redteam.target import Channel, Function, Target, as_target

ATTEMPTS = 256  # attempts; chosen: 16 in each of the 16 classes
CONCURRENCY = 16  # requests at once; chosen: 256 of 0.1 s take 1.8 s (benchmarks/fuzzing.py)
_WITH_TOOLS = ("tool-misuse",)
Progress: TypeAlias = Callable[[int, int], object]
Waiting: TypeAlias = "asyncio.Queue[tuple[int, Attempt] | None]"


@checked
def fuzz(
    target: Target | Function,
    *,
    seed: int = 0,
    attempts: int = ATTEMPTS,
    classes: Sequence[str] | None = None,
    concurrency: int = CONCURRENCY,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Campaign:
    """Attack a language model, with benign questions between the attacks.

    Args:
        target: A `ChatEndpoint`, or a callable that answers messages.
        seed: Seed of the attempts.
        attempts: Number of attempts, benign ones included.
        classes: Classes of attempts; by default all that the target supports.
        concurrency: Requests at once.
        out: Journal of finished attempts; an interrupted campaign with the same one is resumed.
        progress: Called with `(finished, total)`.

    Raises:
        UsageError: An option is out of range, the target cannot be reached, a cap is reached, or
            the journal is of another campaign.
        MissingExtra: httpx is not installed.

    Examples:
        >>> campaign = fuzz(lambda messages: "I cannot help with that.", attempts=64)
        >>> sum(figure.successes for figure in campaign.classes)
        0
    """
    asked = as_target(target)
    if concurrency < 1:
        raise UsageError(f"concurrency: expected at least 1, got {concurrency}")
    chosen, unchecked = _chosen(asked, classes)
    waiting = iter_attempts(attempts, seed=seed, families=chosen)
    with exclusive_lock(out):
        journal = FuzzJournal(out, identity=asked.identity)
        run = _Run(asked, journal, count=attempts, progress=progress)
        _finish(run.all(waiting, concurrency))
    results = tuple(run.results[index] for index in range(attempts))
    return Campaign(target=asked.name, seed=seed, results=results, unchecked=unchecked)


def _chosen(target: Target, classes: Sequence[str] | None) -> tuple[Sequence[str], tuple[str, ...]]:
    if target.takes_tools:
        return (list(FAMILIES) if classes is None else classes), ()
    if classes is None:
        return [each for each in FAMILIES if each not in _WITH_TOOLS], _WITH_TOOLS
    wanted = [each for each in classes if each in _WITH_TOOLS]
    if wanted:
        raise UsageError(
            f"classes: expected a target that takes tools for {', '.join(wanted)}; give the "
            "callable a parameter `tools`"
        )
    return classes, ()


class _Run:
    def __init__(
        self, target: Target, journal: FuzzJournal, *, count: int, progress: Progress | None
    ) -> None:
        self._target, self._journal, self._count, self._progress = target, journal, count, progress
        self._ledger = Ledger(target.caps)
        self._stopped: Exception | None = None
        self.results: dict[int, Result] = {}

    async def all(self, drawn: Iterator[Attempt], concurrency: int) -> None:
        """Make all unfinished attempts; after an error, those in flight still finish."""
        attempts = self._resumed(drawn) if self._journal.finished else drawn
        waiting: Waiting = asyncio.Queue(maxsize=concurrency)
        async with self._target.channel(self._ledger, concurrency=concurrency) as channel:
            drawing = asyncio.create_task(self._draw(attempts, waiting))
            workers = (self._work(channel, waiting) for _ in range(concurrency))
            try:
                await asyncio.gather(*workers)
            finally:
                drawing.cancel()
        if self._stopped is not None:
            raise self._stopped

    def _resumed(self, drawn: Iterator[Attempt]) -> list[Attempt]:
        attempts = list(drawn)
        self._journal.require_known(attempts)
        for entry in self._journal.finished.values():
            self._ledger.used += entry.usage
        return attempts

    async def _draw(self, attempts: Iterable[Attempt], waiting: Waiting) -> None:
        try:
            for pair in enumerate(attempts):
                await waiting.put(pair)
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - raised when the workers are done
            self._stopped = self._stopped or error
        while True:  # one end mark for each worker
            await waiting.put(None)

    async def _work(self, channel: Channel, waiting: Waiting) -> None:
        while (pair := await waiting.get()) is not None:
            if self._stopped is not None:
                return
            index, attempt = pair
            try:
                self.results[index] = await self._one(channel, attempt)
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                self._stopped = self._stopped or error
                return
            if self._progress is not None:
                self._progress(len(self.results), self._count)

    async def _one(self, channel: Channel, attempt: Attempt) -> Result:
        entry = self._journal.finished.get(attempt.id)
        if entry is not None:
            return Result(attempt=attempt, outcome=entry.outcome)
        asked = await channel.ask(attempt)
        if asked.answer is None:
            return Result(attempt=attempt, outcome="error", reason=asked.reason)
        outcome, reason = score(attempt, asked.answer)
        if outcome != "error":
            self._journal.add(attempt, outcome, asked.answer, asked.usage)
        return Result(attempt=attempt, outcome=outcome, reason=reason)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in another thread if this one has an event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised by the caller's thread
            failed.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
