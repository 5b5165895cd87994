"""A watched generator answers each sequence of next, send, throw and close as the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.monitoring import monitored

Step = tuple[str, Any]

ERRORS: dict[str, type[BaseException]] = {
    "value": ValueError,
    "key": KeyError,
    "stop": StopIteration,
    "astop": StopAsyncIteration,
    "exit": GeneratorExit,
    "interrupt": KeyboardInterrupt,
}
STEPS = st.lists(
    st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), st.sampled_from([None, 1, "x"])),
        st.tuples(st.just("throw"), st.sampled_from(sorted(ERRORS))),
        st.just(("close", None)),
    ),
    max_size=8,
)
# A generator that yields when it is closed breaks the language's rules, and is none of these.
MANNERS = st.sampled_from(["echo", "swallow", "raise", "return"])


def plain(manner: str) -> Generator[Any, Any, Any]:
    """A generator with manners of its own."""
    got: Any = "first"
    for i in range(4):
        try:
            got = yield (i, got)
        except ValueError:
            if manner == "swallow":
                got = "swallowed"
            elif manner == "raise":
                raise LookupError("instead") from None
            else:
                raise
        if manner == "return" and i == 1:
            return "early"
    return "late"


async def lazy(manner: str) -> AsyncGenerator[Any, Any]:
    """The same, asynchronous."""
    got: Any = "first"
    for i in range(4):
        try:
            await asyncio.sleep(0)
            got = yield (i, got)
        except ValueError:
            if manner == "swallow":
                got = "swallowed"
            elif manner == "raise":
                raise LookupError("instead") from None
            else:
                raise
        if manner == "return" and i == 1:
            return


def outcome(error: BaseException) -> tuple[Any, ...]:
    return (type(error).__name__, str(error), getattr(error, "value", None))


def trace(make: Callable[[str], Generator[Any, Any, Any]], manner: str, steps: list[Step]) -> Any:
    """What each step gave."""
    running, seen = make(manner), []
    for name, argument in steps:
        try:
            if name == "next":
                seen.append(next(running))
            elif name == "send":
                seen.append(running.send(argument))
            elif name == "throw":
                seen.append(running.throw(ERRORS[argument]("thrown")))
            else:
                seen.append(running.close())
        except BaseException as error:  # noqa: BLE001 - whatever it raises is compared
            seen.append(outcome(error))
    try:
        running.close()
    except BaseException as error:  # noqa: BLE001 - as above
        seen.append(outcome(error))
    return seen


async def traced(
    make: Callable[[str], AsyncGenerator[Any, Any]], manner: str, steps: list[Step]
) -> Any:
    running, seen = make(manner), []
    for name, argument in steps:
        try:
            if name == "next":
                seen.append(await anext(running))
            elif name == "send":
                seen.append(await running.asend(argument))
            elif name == "throw":
                seen.append(await running.athrow(ERRORS[argument]("thrown")))
            else:
                seen.append(await running.aclose())
        except BaseException as error:  # noqa: BLE001 - as above
            seen.append(outcome(error))
    try:
        await running.aclose()
    except BaseException as error:  # noqa: BLE001 - as above
        seen.append(outcome(error))
    return seen


WATCHED: Any = monitored("transparent")(plain)
WATCHED_LAZY: Any = monitored("transparent-async")(lazy)


@settings(max_examples=300, deadline=None)
@given(MANNERS, STEPS)
def test_watched_generator_answers_every_sequence_as_the_original(
    manner: str, steps: list[Step]
) -> None:
    assert trace(WATCHED, manner, steps) == trace(plain, manner, steps)


@settings(max_examples=200, deadline=None)
@given(MANNERS, STEPS)
def test_watched_async_generator_answers_every_sequence_as_the_original(
    manner: str, steps: list[Step]
) -> None:
    async def both() -> tuple[Any, Any]:
        return await traced(WATCHED_LAZY, manner, steps), await traced(lazy, manner, steps)

    watched, original = asyncio.run(both())
    assert watched == original
