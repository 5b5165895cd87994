"""Targets of a campaign: anything that answers a conversation.

`Target` → `channel` → `ask(attempt)` → `Asked` with the answer or the reason why there is none. A
Python callable becomes a `CallableTarget`; a served model is an `endpoint.ChatEndpoint`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from mlsecops._repr import concise_repr
from mlsecops.errors import CallRefused, UsageError
from mlsecops.llm.redteam.answers import Answer, MalformedAnswer, message
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import Caps, Ledger, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A target's answer, or None and the reason, and the usage that it took."""

    answer: Answer | None
    reason: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - frozen


class Channel(Protocol):
    """An open connection to a target."""

    async def ask(self, attempt: Attempt) -> Asked:
        """Send an attempt; raises `UsageError` if no further one can succeed."""


@runtime_checkable
class Target(Protocol):
    """Protocol of targets.

    Attributes:
        name: Name for reports, without secrets.
        identity: Everything that answers depend on; a journal belongs to one identity.
        caps: Budget of a campaign.
        takes_tools: Whether it can be offered functions.
    """

    name: str
    identity: str
    caps: Caps
    takes_tools: bool

    def channel(self, ledger: Ledger, *, concurrency: int) -> AbstractAsyncContextManager[Channel]:
        """Open a channel for so many concurrent attempts."""


Function: TypeAlias = Callable[..., Any]


@concise_repr("name", "caps")
class CallableTarget:
    """A target made of a callable `f(messages)` or `f(messages, tools=...)`.

    Plain functions run in threads, coroutine functions are awaited. The result is a str or an
    assistant's message with `content` and `tool_calls`. A `CallRefused` of a guard is an empty
    answer.

    Args:
        function: The callable.
        name: Name for reports; by default the callable's.

    Examples:
        >>> target = CallableTarget(lambda messages, tools: "no", name="mute")
        >>> target.name, target.takes_tools
        ('mute', True)
    """

    def __init__(self, function: Function, *, name: str | None = None) -> None:
        self.name = name or str(getattr(function, "__qualname__", type(function).__name__))
        self.identity = f"callable\n{self.name}"
        self.caps = Caps()
        self.takes_tools = _takes_tools(function)
        self._function = function

    @asynccontextmanager
    async def channel(self, ledger: Ledger, *, concurrency: int) -> AsyncIterator[Channel]:
        """Start threads for the calls."""
        with ThreadPoolExecutor(concurrency, thread_name_prefix="mlsecops-fuzz") as pool:
            yield _Calls(self, self._function, ledger, pool)


class _Calls:
    def __init__(
        self, target: CallableTarget, function: Function, ledger: Ledger, pool: ThreadPoolExecutor
    ) -> None:
        self._target, self._function, self._ledger, self._pool = target, function, ledger, pool

    async def ask(self, attempt: Attempt) -> Asked:
        once = Usage(requests=1)
        self._ledger.reserve(once)
        try:
            answer = _answer(await self._call(attempt))
        except CallRefused:
            answer = Answer(text="")
        except MalformedAnswer as error:
            return Asked(answer=None, reason=f"cannot read the answer: {error}", usage=once)
        except Exception as error:  # noqa: BLE001 - any exception of the target is an outcome
            return Asked(answer=None, reason=f"raised {type(error).__name__}", usage=once)
        finally:
            self._ledger.settle(once, once)
        return Asked(answer=answer, usage=once)

    async def _call(self, attempt: Attempt) -> Any:
        messages = [dict(each) for each in attempt.messages]
        offered = attempt.tools if self._target.takes_tools else ()
        tools = {"tools": [dict(each) for each in offered]} if offered else {}
        if inspect.iscoroutinefunction(self._function):
            return await self._function(messages, **tools)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(
            self._pool, lambda: context.run(self._function, messages, **tools)
        )
        return await value if isinstance(value, Awaitable) else value


def _answer(value: Any) -> Answer:
    if isinstance(value, str):
        return Answer(text=value)
    if isinstance(value, Mapping):
        return message(value)
    raise MalformedAnswer(f"expected a str or a message, got {type(value).__name__}")


def _takes_tools(function: Function) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "tools" in parameters or any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()
    )


def as_target(target: Target | Function) -> Target:
    """Return a target as it is, and make one of a callable."""
    if isinstance(target, Target):
        return target
    if not callable(target):
        raise UsageError(
            f"target: expected a ChatEndpoint or a callable, got {type(target).__name__}; for a "
            "URL, give ChatEndpoint(url, model=...)"
        )
    return CallableTarget(target)
