"""Red-team campaign against a language model.

attempts → bounded queue → concurrent workers → target → scored answers → journal → plain questions
about abilities that nothing showed → `Campaign`. The order of the answers does not affect it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.abilities import Finished, missing
from mlsecops.llm.redteam.attempts import HONEST, Attempt
from mlsecops.llm.redteam.budget import Ledger
from mlsecops.llm.redteam.conversation import converse
from mlsecops.llm.redteam.event_loop import finish
from mlsecops.llm.redteam.grammar.application import Application
from mlsecops.llm.redteam.grammar.families import ABILITIES, Family
from mlsecops.llm.redteam.grammar.generator import Plan, chosen_families, require_count
from mlsecops.llm.redteam.journal import UNFINISHED, FuzzJournal, JournalEntry, exclusive_lock
from mlsecops.llm.redteam.pairs import SpotlightEffect
from mlsecops.llm.redteam.results import Campaign, Result, decided
from mlsecops.llm.redteam.target import CallableTarget, Channel, Function, Target, as_target

ATTEMPTS = 256  # attempts; chosen: about 15 in each of the 17 classes
CONCURRENCY = 16  # requests at once; chosen: 256 of 0.1 s take 1.8 s (benchmarks/fuzzing.py)
_WITH_TOOLS = ("tool-misuse",)
_TURNS: Final = 10  # turns of a conversation at most; chosen: crescendo attacks take 3 to 5
_REPEATS: Final = 1000  # repetitions at most; chosen
Progress: TypeAlias = Callable[[int, int], object]


@checked
def fuzz(
    target: Target | Function,
    *,
    seed: int = 0,
    attempts: int = ATTEMPTS,
    classes: Sequence[str] | None = None,
    application: Application | None = None,
    own: Mapping[str, Family] | None = None,
    repeats: int = 1,
    turns: int = 1,
    branches: int = 1,
    spotlight: Callable[..., Any] | None = None,
    concurrency: int = CONCURRENCY,
    timeout: float | None = None,
    out: str | os.PathLike[str] | None = None,
    target_id: str | None = None,
    progress: Progress | None = None,
) -> Campaign:
    """Attack a language model, with honest questions between the attacks.

    Args:
        target: A `ChatEndpoint`, or a callable that answers messages.
        seed: Seed of the attempts.
        attempts: Number of attempts, honest ones included.
        classes: Classes of attempts; by default all that the target supports.
        application: The user's application, out of which attempts grow; by default built-in scenes.
        own: Own classes of attempts, from `read_attempts`.
        repeats: How often each attempt is made; the intervals know that it is the same attempt.
        turns: Turns of a conversation: an attack that is resisted goes on in the next one.
        branches: Ways to go on that each further turn tries; the one that came nearest is kept.
        spotlight: Method such as `datamark`: each attack from outside is also made with its text
            marked, and the effect is reported with its interval.
        concurrency: Requests at once.
        timeout: Seconds for an answer of a callable, by default 120.
        out: Journal of finished attempts; an interrupted campaign with the same one is resumed.
        target_id: What distinguishes the target, such as the model's digest; a callable with `out`
            needs it.
        progress: Called with `(finished, total)`.

    Raises:
        UsageError: An option is out of range, the target cannot be reached or refuses for good, a
            cap is reached, or the journal is of another campaign.
        MissingExtra: httpx is not installed.

    Examples:
        >>> campaign = fuzz(lambda messages: "I cannot help with that.", attempts=64)
        >>> sum(figure.successes for figure in campaign.classes)
        0
    """
    asked = as_target(target, timeout=timeout)
    _require_range("concurrency", concurrency, 1, 10_000)
    _require_range("repeats", repeats, 1, _REPEATS)
    _require_range("turns", turns, 1, _TURNS)
    _require_range("branches", branches, 1, _TURNS)
    if out is not None and isinstance(asked, CallableTarget) and not target_id:
        raise UsageError(
            "target_id: expected one with out=, since a callable has no name that tells its "
            "versions from each other; give the model's digest or version"
        )
    plan, unchecked = _planned(asked, classes, own)
    require_count(attempts)
    plan = replace(
        plan,
        seed=seed,
        ground=(application or Application()).ground(),
        turns=turns,
        branches=branches,
        spotlight=spotlight,
    )
    kind = f"{turns} {branches} {getattr(spotlight, '__name__', spotlight is not None)}"
    with exclusive_lock(out):
        journal = FuzzJournal(out, identity=f"{asked.identity}\n{target_id or ''}\n{kind}")
        run = _Run(asked, journal, plan, Size(attempts, repeats, progress))
        finish(run.all(concurrency))
    return run.campaign(unchecked=unchecked, target_id=target_id)


def planned_attempts(plan: Plan, count: int) -> Iterator[Attempt]:
    """All attempts that a campaign can make, plain questions about abilities last."""
    for attempt, spotlit in plan.attempts(count):
        yield attempt
        if spotlit is not None:
            yield spotlit
    for need in ABILITIES:
        yield from plan.questions(need)


def _require_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name}: expected {least} to {most}, got {value}")


def _planned(
    target: Target, classes: Sequence[str] | None, own: Mapping[str, Family] | None
) -> tuple[Plan, tuple[str, ...]]:
    families = chosen_families(classes, own)
    left_out: tuple[str, ...] = ()
    if not target.takes_tools:
        wanted = [each for each in families if each in _WITH_TOOLS]
        if wanted and classes is not None:
            raise UsageError(
                f"classes: expected a target that takes tools for {', '.join(wanted)}; give the "
                "callable a parameter `tools`"
            )
        left_out = tuple(wanted)
        families = {name: each for name, each in families.items() if name not in wanted}
    return Plan(seed=0, families=families, ground=Application().ground()), left_out


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of attempts and repetitions, and what is called with the progress."""

    attempts: int
    repeats: int
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class _Item:
    """One conversation to hold: its place in the results, the attempt and its name."""

    key: tuple[str, int, int]  # kind, index, repetition
    attempt: Attempt

    @property
    def name(self) -> str:
        kind, _, repeat = self.key
        return f"{self.attempt.id}#{repeat}" if repeat and kind != "control" else self.attempt.id


Waiting: TypeAlias = "asyncio.Queue[_Item | None]"


class _Run:
    def __init__(self, target: Target, journal: FuzzJournal, plan: Plan, size: Size) -> None:
        self._target, self._journal, self._plan, self._size = target, journal, plan, size
        self._ledger = Ledger(target.caps)
        self._stopped: Exception | None = None
        self._total = 0
        self.results: dict[tuple[str, int, int], Result] = {}

    async def all(self, concurrency: int) -> None:
        """Make all unfinished attempts; after an error, those in flight still finish."""
        items = self._items()
        if self._journal.finished:
            known = list(items)
            self._resume(known)
            items = iter(known)
        async with self._target.channel(self._ledger, concurrency=concurrency) as channel:
            await self._phase(items, channel, concurrency)
            if self._stopped is None:
                await self._phase(self._questions(), channel, concurrency)
        if self._stopped is not None:
            raise self._stopped

    def campaign(self, *, unchecked: tuple[str, ...], target_id: str | None) -> Campaign:
        """The campaign, with the outcomes decided."""
        plain = self._of("plain")
        controls = tuple(self._of("control"))
        results = decided(plain, controls)
        lit = None if self._plan.spotlight is None else self._spotlight(results)
        return Campaign(
            target=self._target.name,
            seed=self._plan.seed,
            results=results,
            controls=controls,
            unchecked=unchecked,
            target_id=target_id,
            spotlight=lit,
        )

    def _items(self) -> Iterator[_Item]:
        for index, (attempt, spotlit) in enumerate(self._plan.attempts(self._size.attempts)):
            for repeat in range(self._size.repeats):
                self._total += 1 + (spotlit is not None)
                yield _Item(("plain", index, repeat), attempt)
                if spotlit is not None:
                    yield _Item(("spotlit", index, repeat), spotlit)

    def _questions(self) -> Iterator[_Item]:
        """Plain questions about the abilities of resisted attacks that nothing else showed."""
        finished = [
            Finished(each.attempt.family, each.attempt.needs, each.outcome)
            for each in self._of("plain")
        ]
        honest = [each for each in finished if each.family in HONEST]
        if honest and all(each.outcome != "answered" for each in honest):
            return  # it answers nothing: more questions change no verdict
        for number, need in enumerate(missing(finished)):
            for place, attempt in enumerate(self._plan.questions(need)):
                yield _Item(("control", number, place), attempt)

    def _of(self, kind: str) -> list[Result]:
        return [self.results[key] for key in sorted(self.results) if key[0] == kind]

    def _spotlight(self, results: Sequence[Result]) -> SpotlightEffect:
        """The effect on pairs of which both have an outcome that shows something."""
        usable = {"success", "resisted", "blocked"}
        outcomes = {(each.attempt.id, each.repeat): each.outcome for each in results}
        keys = [key for key in self.results if key[0] == "spotlit"]
        pairs = []
        for key in keys:
            plain = self.results["plain", *key[1:]]
            outcome = outcomes[plain.attempt.id, plain.repeat]
            lit = self.results[key].outcome
            if outcome in usable and lit in usable:
                pairs.append((outcome == "success", lit == "success"))
        return SpotlightEffect(
            name=str(getattr(self._plan.spotlight, "__name__", "spotlight")),
            pairs=len(pairs),
            plain=sum(plain for plain, _ in pairs),
            spotlit=sum(lit for _, lit in pairs),
            both=sum(plain and lit for plain, lit in pairs),
            dropped=len(keys) - len(pairs),
        )

    def _resume(self, items: Sequence[_Item]) -> None:
        questions = [each.id for need in ABILITIES for each in self._plan.questions(need)]
        self._journal.require_known([*(each.name for each in items), *questions])
        for entry in self._journal.finished.values():
            self._ledger.used += entry.usage

    async def _phase(self, items: Iterator[_Item], channel: Channel, concurrency: int) -> None:
        waiting: Waiting = asyncio.Queue(maxsize=concurrency)
        drawing = asyncio.create_task(self._draw(items, waiting))
        try:
            await asyncio.gather(*(self._work(channel, waiting) for _ in range(concurrency)))
        finally:
            drawing.cancel()

    async def _draw(self, items: Iterator[_Item], waiting: Waiting) -> None:
        try:
            for item in items:
                await waiting.put(item)
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - raised when the workers are done
            self._stopped = self._stopped or error
        while True:  # one end mark for each worker
            await waiting.put(None)

    async def _work(self, channel: Channel, waiting: Waiting) -> None:
        while (item := await waiting.get()) is not None:
            if self._stopped is not None:
                return
            try:
                self.results[item.key] = await self._one(channel, item)
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                self._stopped = self._stopped or error
                return
            if self._size.progress is not None and item.key[0] != "control":
                least = self._size.attempts * self._size.repeats
                self._size.progress(len(self.results), max(least, self._total))

    async def _one(self, channel: Channel, item: _Item) -> Result:
        entry = self._journal.finished.get(item.name)
        if entry is None:
            entry = await converse(channel, item.attempt)
            if entry.outcome not in UNFINISHED:
                self._journal.add(item.name, item.attempt, entry)
        return _result(item, entry)


def _result(item: _Item, entry: JournalEntry) -> Result:
    return Result(
        attempt=item.attempt,
        outcome=entry.outcome,
        reason=entry.reason,
        answer=entry.answer,
        repeat=0 if item.key[0] == "control" else item.key[2],
        turn=entry.turn,
    )
