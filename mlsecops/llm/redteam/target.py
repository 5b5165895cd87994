"""What is attacked: anything that answers a conversation.

A `Target` opens a channel; in it, `ask` takes an attempt and gives an answer, or the reason why
there is none. A Python callable is made one here; a served model is an `endpoint.ChatEndpoint`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from mlsecops.errors import CallRefused, UsageError
from mlsecops.llm.redteam.answers import Answer, Unreadable, message
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import NOTHING, Caps, Ledger, Usage

__all__ = ["Asked", "CallableTarget", "Channel", "Target", "as_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a question.

    Attributes:
        answer: What was answered; None if there was no answer, or none that can be read.
        reason: Why there is none, in words of ours.
        usage: What it took.
    """

    answer: Answer | None
    reason: str = ""
    usage: Usage = NOTHING


class Channel(Protocol):
    """A target that can be asked, until it is left."""

    async def ask(self, attempt: Attempt) -> Asked:
        """Ask once.

        Raises:
            UsageError: No further question makes sense: a cap is reached, nobody is there.
        """


@runtime_checkable
class Target(Protocol):
    """Something to ask.

    Attributes:
        name: For reports; holds no secret.
        identity: Of what answers depend on; a journal belongs to one.
        caps: The most that may be used.
        takes_tools: Whether it can be offered functions.
    """

    name: str
    identity: str
    caps: Caps
    takes_tools: bool

    def channel(self, ledger: Ledger, *, concurrency: int) -> AbstractAsyncContextManager[Channel]:
        """Get ready for so many questions at once."""


Function: TypeAlias = Callable[..., Any]


class CallableTarget:
    """A Python callable: `f(messages)`, or `f(messages, tools=...)`.

    It is called in threads, or awaited if it is a coroutine function. What it returns is a text or
    a message of an assistant with `content` and `tool_calls`; a guard that refuses the call
    (`CallRefused`) counts as an answer without a word.

    Args:
        function: What is asked.
        name: For reports; by default its own.
    """

    def __init__(self, function: Function, *, name: str | None = None) -> None:
        self.name = name or str(getattr(function, "__qualname__", type(function).__name__))
        self.identity = f"callable\n{self.name}"
        self.caps = Caps()
        self.takes_tools = _takes_tools(function)
        self._function = function

    @asynccontextmanager
    async def channel(self, ledger: Ledger, *, concurrency: int) -> AsyncIterator[Channel]:
        """Threads to call it in."""
        with ThreadPoolExecutor(concurrency, thread_name_prefix="mlsecops-fuzz") as pool:
            yield _Calls(self, self._function, ledger, pool)


class _Calls:
    """A callable, and the threads that it runs in."""

    def __init__(
        self, target: CallableTarget, function: Function, ledger: Ledger, pool: ThreadPoolExecutor
    ) -> None:
        self._target, self._function, self._ledger, self._pool = target, function, ledger, pool

    async def ask(self, attempt: Attempt) -> Asked:
        once = Usage(requests=1)
        self._ledger.set_aside(once)
        try:
            answer = _answer(await self._call(attempt))
        except CallRefused:
            answer = Answer(text="")
        except Unreadable as error:
            return Asked(answer=None, reason=f"cannot read the answer: {error}", usage=once)
        except Exception as error:  # noqa: BLE001 - whatever it raises is an outcome
            return Asked(answer=None, reason=f"raised {type(error).__name__}", usage=once)
        finally:
            self._ledger.book(once, once)
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
    raise Unreadable(f"expected a text or a message, got {type(value).__name__}")


_ANY: Final = (inspect.Parameter.VAR_KEYWORD,)


def _takes_tools(function: Function) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "tools" in parameters or any(each.kind in _ANY for each in parameters.values())


def as_target(target: Target | Function) -> Target:
    """A target as it is, or one that a callable becomes.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(target, Target):
        return target
    if not callable(target):
        raise UsageError(
            f"target: expected a ChatEndpoint or a callable, got {type(target).__name__}; for an "
            "address, ChatEndpoint(url, model=...)"
        )
    return CallableTarget(target)
