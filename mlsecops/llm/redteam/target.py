"""Targets of a campaign: anything that answers a conversation.

`Target` → `channel` → `ask(attempt)` → `Asked` with the answer or the reason why there is none. A
Python callable becomes a `CallableTarget`; a served model is an `endpoint.ChatEndpoint`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import CallRefused, UsageError
from mlsecops.llm.redteam.answer_streams import AnswerStream, ServiceError
from mlsecops.llm.redteam.answers import Answer, MalformedAnswer, member, read_answer
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import Caps, Ledger, Usage
from mlsecops.llm.redteam.endpoints.failures import (
    WRONG_REQUEST,
    FailureLimit,
    kind_of,
    printable_start,
)

TIMEOUT: Final = 120.0
"""Seconds for an answer of a callable; chosen: a model on a CPU needs about a minute."""
_FAILED: Final = 400  # HTTP status of a client's exception; from here on an error


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


@concise_repr("name", "timeout")
@checked
class CallableTarget:
    """A target made of a callable `f(messages)` or `f(messages, tools=...)`.

    Plain functions run in threads, coroutine functions are awaited. The result is a str, an
    assistant's message, an answer of the openai or anthropic package or of LangChain, as object or
    mapping, or a stream of their pieces. A `CallRefused` of a guard is a blocked answer. A call
    that hangs is an error after `timeout`; its thread is left behind.

    Args:
        function: The callable.
        name: Name for reports; by default the callable's.
        timeout: Seconds for an answer, > 0.

    Raises:
        UsageError: `timeout` is not above 0.

    Examples:
        >>> target = CallableTarget(lambda messages, tools: "no", name="mute")
        >>> target.name, target.takes_tools
        ('mute', True)
    """

    def __init__(
        self, function: Function, *, name: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        if not timeout > 0:
            raise UsageError(f"timeout: expected seconds above 0, got {timeout}")
        self.name = name or str(getattr(function, "__qualname__", type(function).__name__))
        self.identity = ""  # a callable has none but what the caller gives
        self.caps = Caps()
        self.timeout = timeout
        self.takes_tools = _takes_tools(function)
        self._function = function

    @asynccontextmanager
    async def channel(self, ledger: Ledger, *, concurrency: int) -> AsyncIterator[Channel]:
        """Prepare the calls, each of which has a thread of its own."""
        del concurrency
        yield _Calls(self, self._function, ledger)


class _Calls:
    def __init__(self, target: CallableTarget, function: Function, ledger: Ledger) -> None:
        self._target, self._function, self._ledger = target, function, ledger
        self._limit = FailureLimit(target.name)

    async def ask(self, attempt: Attempt) -> Asked:
        once = Usage(requests=1)
        self._limit.check()
        self._ledger.reserve(once)
        try:
            answer = await asyncio.wait_for(self._call(attempt), self._target.timeout)
        except CallRefused:
            answer = Answer(text="", blocked=True)
        except TimeoutError:
            reason = f"no answer within {self._target.timeout:g} s: raise timeout"
            return Asked(answer=None, reason=reason, usage=once)
        except MalformedAnswer as error:
            return Asked(answer=None, reason=f"cannot read the answer: {error}", usage=once)
        except Exception as error:  # noqa: BLE001 - any exception of the target is an outcome
            return self._failed(error, once)
        finally:
            self._ledger.settle(once, once)
        self._limit.succeeded()
        return Asked(answer=answer, usage=once)

    def _failed(self, error: Exception, once: Usage) -> Asked:
        """The outcome of an exception; those of clients bear the service's status and words."""
        status, body = _status(error), _described(error)
        kind = "other" if status is None else kind_of(status, body)
        if kind == "blocked":
            self._limit.succeeded()
            return Asked(answer=Answer(text="", blocked=True), usage=once)
        reason = f"raised {type(error).__name__}"
        if kind == "permanent":
            said = printable_start(str(member(body, "message") or ""))
            reason = f"{reason} ({status}{': ' if said else ''}{said})"
            self._limit.failed(reason, at_once=status in WRONG_REQUEST)
        return Asked(answer=None, reason=reason, usage=once)

    async def _call(self, attempt: Attempt) -> Answer:
        messages = [dict(each) for each in attempt.messages]
        offered = attempt.tools if self._target.takes_tools else ()
        tools = {"tools": [dict(each) for each in offered]} if offered else {}
        if inspect.iscoroutinefunction(self._function):
            value = await self._function(messages, **tools)
        else:
            value = await _in_thread(lambda: _called(self._function, messages, tools))
        if isinstance(value, Awaitable):
            value = await value
        if isinstance(value, AsyncIterable):
            stream = AnswerStream()
            async for piece in value:
                stream.add(piece)
            return stream.answer()
        return value if isinstance(value, Answer) else _read(value)


def _called(function: Function, messages: Any, tools: Mapping[str, Any]) -> Any:
    """The result of a call; a plain stream is joined in the same thread."""
    value = function(messages, **tools)
    if isinstance(value, (Awaitable, AsyncIterable)):
        return value
    return _read(value)


def _read(value: Any) -> Answer:
    if isinstance(value, Answer):
        return value
    if not _is_stream(value):
        return read_answer(value)
    stream = AnswerStream()
    try:
        for piece in value:
            stream.add(piece)
    except ServiceError as error:
        if kind_of(_FAILED, error.error) == "blocked":
            return Answer(text="", blocked=True)
        raise MalformedAnswer(
            f"its stream ended in an error: {printable_start(str(error))}"
        ) from error
    return stream.answer()


def _is_stream(value: Any) -> bool:
    """Whether it is iterated piece by piece; messages of some clients are iterable, too."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        return False
    return all(member(value, name) is None for name in ("choices", "content", "output"))


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Run a call in a daemon thread, which no one waits for if it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

    def run() -> None:
        value: Any = None
        failed: BaseException | None = None
        try:
            value = context.run(call)
        except StopIteration:
            failed = RuntimeError("the call raised StopIteration")
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name="mlsecops-fuzz", daemon=True).start()
    return await done


def _status(error: Exception) -> int | None:
    """HTTP status in an exception of a client, as openai's and anthropic's have it."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if type(status) is int and status >= _FAILED:
            return status
    return None


def _described(error: Exception) -> Any:
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        return body.get("error", body) if isinstance(body.get("error", body), Mapping) else body
    return {"message": str(error)}


def _takes_tools(function: Function) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "tools" in parameters or any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()
    )


def as_target(target: Target | Function, *, timeout: float | None = None) -> Target:
    """Return a target as it is, and make one of a callable."""
    if isinstance(target, Target):
        if timeout is not None:
            raise UsageError(
                f"timeout: expected a callable as target, got {type(target).__name__}; give the "
                "timeout where the target is made"
            )
        return target
    if not callable(target):
        raise UsageError(
            f"target: expected a ChatEndpoint or a callable, got {type(target).__name__}; for a "
            "URL, give ChatEndpoint(url, model=...); for a client of openai or anthropic, a "
            "function that calls it with the messages and returns its answer"
        )
    return CallableTarget(target, timeout=TIMEOUT if timeout is None else timeout)
